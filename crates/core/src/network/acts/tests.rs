use super::super::tests::{CONSENSUS, COSIGN, LOG, endorsement_key, file, origin, secret, validator};
use super::super::{EndorsementKeyState, MinTokenVersion, Rules, cosigner_name};
use super::*;
use crate::checkpoint::Checkpoint;
use crate::governance::Approval;
use crate::hash::Digest;
use crate::ids::{AuthorityId, NetworkId, SubmitterName};
use crate::leaf::{ActLeaf, BlockLeaf};
use crate::merkle::{leaf_hash, prove_inclusion, root_of};
use crate::note::NoteSigner;
use crate::time::{Minute, UnixSeconds};

/// A log of one network, act by act, as its validators would keep it.
struct World {
    file: Vec<u8>,
    network: Network,
    leaves: Vec<Vec<u8>>,
    proofs: Vec<String>,
    members: Vec<u8>,
}

impl World {
    fn new(n: u8) -> Self {
        let (file, network) = file(n);
        Self { file, network, leaves: vec![b"genesis".to_vec()], proofs: Vec::new(), members: (1..=n).collect() }
    }

    fn approved(&self, change: Change, by: &[u8]) -> ApprovedAct {
        let mut approved = ApprovedAct::new(self.network.next_act(change), Vec::new());
        for member in by {
            approved.approve(&secret(LOG, *member));
        }
        approved
    }

    fn note(&self, size: usize, by: &[u8]) -> String {
        let hashes: Vec<_> = self.leaves[..size].iter().map(|leaf| leaf_hash(leaf)).collect();
        let checkpoint = Checkpoint { origin: origin(), size: size as u64, root: root_of(&hashes) };
        let log = checkpoint.log_signature(&NoteSigner::log(origin(), secret(LOG, by[0]))).unwrap();
        let lines: Vec<_> = by
            .iter()
            .map(|member| {
                let name = cosigner_name(&origin(), &secret(CONSENSUS, *member).public_key()).unwrap();
                checkpoint.cosign(&NoteSigner::cosigner(name, secret(COSIGN, *member)), UnixSeconds(60)).unwrap()
            })
            .collect();
        checkpoint.assemble(log, &lines).unwrap().to_string()
    }

    fn proof(&self, index: usize, size: usize, by: &[u8]) -> String {
        let hashes: Vec<_> = self.leaves[..size].iter().map(|leaf| leaf_hash(leaf)).collect();
        let path = prove_inclusion(index as u64, size as u64, &mut |level, at| {
            let width = 1usize << level;
            let first = usize::try_from(at).unwrap() * width;
            Ok::<_, crate::merkle::MerkleError>(root_of(&hashes[first..first + width]))
        })
        .unwrap();
        let leaf = self.leaves[index].clone();
        ProofBundle { leaf, endorsement: None, index: index as u64, path, checkpoint: self.note(size, by) }.to_string()
    }

    /// Records an act in the log, with its block's own leaf behind it.
    fn record(&mut self, approved: &ApprovedAct, height: u64) -> usize {
        let index = self.leaves.len();
        let leaf = ActLeaf { minute: Minute(1), height: Height(height), approved: approved.clone() };
        self.leaves.push(Leaf::Act(Box::new(leaf)).encode());
        let epoch = self.network.current_epoch();
        let block = BlockLeaf {
            minute: Minute(1),
            height: Height(height),
            epoch: epoch.number(),
            validator_set_hash: epoch.validator_set_hash(),
            index_root: Digest::from_bytes([0; 32]),
        };
        self.leaves.push(Leaf::Block(block).encode());
        index
    }

    /// Approves, records and follows a change by all members.
    fn enact(&mut self, change: Change) {
        let members = self.members.clone();
        let approved = self.approved(change, &members);
        let index = self.record(&approved, 10 * u64::from(approved.act().number));
        let proof = self.proof(index, index + 2, &members);
        self.network = self.network.follow(&proof).unwrap();
        self.proofs.push(proof);
    }

    fn add(&mut self, member: u8) {
        self.enact(Change::AddValidator(Box::new(validator(member))));
        self.members.push(member);
    }

    fn remove(&mut self, member: u8) {
        self.enact(Change::RemoveValidator(secret(CONSENSUS, member).public_key()));
        self.members.retain(|other| *other != member);
    }
}

fn submitter(number: u16, name: &str, seed: u8) -> Submitter {
    let (number, name) = (SubmitterNumber(number), SubmitterName::new(name).unwrap());
    Submitter { number, name, key: secret(9, seed).public_key() }
}

fn authority(number: u16, id: &str) -> Authority {
    Authority {
        number: AuthorityNumber(number),
        id: AuthorityId::new(id).unwrap(),
        token_key: None,
        rules: Rules { min_token_version: MinTokenVersion::V1 },
        endorsement_keys: Vec::new(),
    }
}

#[test]
fn an_old_file_follows_the_chain_to_the_present_validators() {
    let mut world = World::new(4);
    world.enact(Change::AddSubmitter(submitter(2, "second", 2)));
    world.add(5);
    world.enact(Change::SetAuthority(Box::new(authority(2, "OTHER"))));
    for leaving in 1..=4 {
        world.add(5 + leaving);
        world.remove(leaving);
    }
    let (bytes, read) = with_acts(&world.file, &world.proofs).unwrap();
    assert_eq!(acts_of(&bytes).unwrap(), world.proofs);
    assert_eq!((read.act_count(), read.current_epoch().number()), (11, Epoch(9)));
    assert_eq!(read.network_id(), world.network.network_id());
    let keys: Vec<_> = read.current_epoch().validators().iter().map(|v| v.consensus_key).collect();
    let mut expected: Vec<_> = (5..=9).map(|member| secret(CONSENSUS, member).public_key()).collect();
    expected.sort();
    assert_eq!(keys, expected, "none of the first four is left");
    assert_eq!(read.before_acts().act_count(), 0);
    let first = Network::parse(&world.file).unwrap();
    assert!(first.is_succeeded_by(&read) && !read.is_succeeded_by(&first));

    // Each checkpoint is judged by those who decided at its size.
    let ends: Vec<_> = read.epochs().filter_map(NetworkEpoch::last_checkpoint).map(|(size, _)| size).collect();
    assert_eq!(ends.len(), 9);
    let size = usize::try_from(ends[0]).unwrap();
    assert!(read.verify_checkpoint(&world.note(size, &[1, 2, 3])).is_ok());
    assert!(read.verify_checkpoint(&world.note(size + 1, &[1, 2, 3])).is_err(), "that epoch is over");
    assert!(read.verify_checkpoint(&world.note(size + 1, &[1, 2, 3, 5])).is_ok());
    assert!(read.verify_checkpoint(&world.note(world.leaves.len(), &[1, 2, 3, 4])).is_err(), "removed validators");
}

#[test]
fn a_chain_with_a_gap_another_order_or_a_repetition_is_refused() {
    let mut world = World::new(1);
    world.enact(Change::AddSubmitter(submitter(2, "second", 2)));
    world.enact(Change::AddSubmitter(submitter(3, "third", 3)));
    let [first, second] = [0, 1].map(|at| world.proofs[at].clone());
    for chain in [vec![second.clone()], vec![second.clone(), first.clone()], vec![first.clone(), first.clone()]] {
        let error = with_acts(&world.file, &chain).unwrap_err();
        assert!(matches!(error, NetworkError::Act(_, _)), "{error}");
    }
    assert!(with_acts(&world.file, &[first, second]).is_ok());
}

#[test]
fn what_ends_an_epoch_must_be_shown_by_its_last_checkpoint() {
    let mut world = World::new(4);
    let approved = world.approved(Change::AddValidator(Box::new(validator(5))), &[1, 2, 3]);
    let index = world.record(&approved, 40);
    world.leaves.push(b"the next epoch's".to_vec());
    let later = world.proof(index, index + 3, &[1, 2, 3]);
    assert!(matches!(world.network.follow(&later), Err(FollowError::NotTheEnd)));
    let earlier = world.proof(index, index + 1, &[1, 2, 3]);
    assert!(matches!(world.network.follow(&earlier), Err(FollowError::NotTheEnd)));
    let few = world.proof(index, index + 2, &[1, 2]);
    assert!(matches!(world.network.follow(&few), Err(FollowError::Trust(_))));
    let after = world.network.follow(&world.proof(index, index + 2, &[1, 2, 3])).unwrap();
    assert_eq!(after.current_epoch().first_height(), Height(41));
    assert_eq!(after.epochs().next().unwrap().last_checkpoint().unwrap().0, index as u64 + 2);
    let block = world.proof(index + 1, index + 2, &[1, 2, 3]);
    assert!(matches!(world.network.follow(&block), Err(FollowError::NotAnAct)));
}

#[test]
fn acts_out_of_place_or_without_a_quorum_are_refused_by_cause() {
    let mut world = World::new(4);
    let change = || Change::AddSubmitter(submitter(2, "second", 2));
    let refuse = |world: &World, approved: &ApprovedAct| world.network.check_act(approved).unwrap_err().code();
    assert_eq!(refuse(&world, &world.approved(change(), &[1, 2])), "too_few_approvals");
    assert_eq!(refuse(&world, &world.approved(change(), &[1, 2, 3, 9])), "unknown_approver");
    let good = world.approved(change(), &[1, 2, 3]);
    assert_eq!(world.network.check_act(&good), Ok(()));
    let forged = {
        let key = secret(LOG, 4).public_key();
        let approvals = [good.approvals().to_vec(), vec![Approval { key, signature: [7; 64] }]].concat();
        ApprovedAct::new(good.act().clone(), approvals)
    };
    assert_eq!(refuse(&world, &forged), "approval_signature");
    let with = |change: &dyn Fn(&mut Act)| {
        let mut act = good.act().clone();
        change(&mut act);
        let mut approved = ApprovedAct::new(act, Vec::new());
        (1..=4).for_each(|member| approved.approve(&secret(LOG, member)));
        approved
    };
    assert_eq!(refuse(&world, &with(&|act| act.network = NetworkId(Digest::from_bytes([0; 32])))), "other_network");
    assert_eq!(refuse(&world, &with(&|act| act.number = 2)), "act_number");
    assert_eq!(refuse(&world, &with(&|act| act.number = 0)), "act_number");
    assert_eq!(refuse(&world, &with(&|act| act.previous = Digest::from_bytes([0; 32]))), "previous_act");
    assert_eq!(refuse(&world, &with(&|act| act.epoch = Epoch(1))), "epoch");

    world.enact(change());
    assert_eq!(refuse(&world, &good), "act_number", "an act is enacted once");
    world.remove(4);
    let by_removed = world.approved(Change::RemoveSubmitter(SubmitterNumber(2)), &[1, 2, 3, 4]);
    assert_eq!(refuse(&world, &by_removed), "unknown_approver");
}

#[test]
fn changes_that_contradict_the_network_are_refused_by_cause() {
    let mut world = World::new(2);
    world.enact(Change::AddSubmitter(submitter(2, "second", 2)));
    world.enact(Change::RemoveSubmitter(SubmitterNumber(2)));
    world.enact(Change::SetAuthority(Box::new(authority(2, "OTHER"))));
    world.enact(Change::RemoveAuthority(AuthorityNumber(2)));
    let known = world.network.authority(AuthorityNumber(1)).unwrap().clone();
    let with_keys = |keys: &[(u8, EndorsementKeyState)]| {
        let endorsement_keys = keys.iter().map(|(number, state)| endorsement_key(*number, *state)).collect();
        Change::SetAuthority(Box::new(Authority { endorsement_keys, ..known.clone() }))
    };
    let (current, revoked) = (EndorsementKeyState::Current, EndorsementKeyState::Revoked);
    let cases = [
        ("validator_key", Change::AddValidator(Box::new(validator(1)))),
        (
            "validator_key",
            Change::AddValidator(Box::new(Validator { log_key: secret(LOG, 1).public_key(), ..validator(5) })),
        ),
        ("unknown_validator", Change::RemoveValidator(secret(CONSENSUS, 9).public_key())),
        ("entry_number", Change::AddSubmitter(submitter(2, "third", 3))),
        ("entry_number", Change::AddSubmitter(submitter(4, "third", 3))),
        ("known_submitter", Change::AddSubmitter(submitter(3, "aggregator_node_001", 3))),
        ("known_submitter", Change::AddSubmitter(submitter(3, "second", 2))),
        ("unknown_submitter", Change::RemoveSubmitter(SubmitterNumber(2))),
        ("unknown_submitter", Change::RemoveSubmitter(SubmitterNumber(9))),
        ("unknown_authority", Change::RemoveAuthority(AuthorityNumber(2))),
        ("unknown_authority", Change::RemoveAuthority(AuthorityNumber(0))),
        ("unknown_authority", Change::SetAuthority(Box::new(authority(2, "OTHER")))),
        ("entry_number", Change::SetAuthority(Box::new(authority(0, "ZERO")))),
        ("authority_entry", Change::SetAuthority(Box::new(authority(3, "SIMULATED_MFG_001")))),
        ("authority_entry", Change::SetAuthority(Box::new(authority(3, "unattested")))),
        (
            "authority_entry",
            Change::SetAuthority(Box::new(Authority { id: AuthorityId::new("X").unwrap(), ..known.clone() })),
        ),
        ("authority_keys", with_keys(&[(1, current)])),
        ("authority_keys", with_keys(&[(1, current), (2, current)])),
    ];
    for (code, change) in cases {
        assert_eq!(world.network.check_change(&change).unwrap_err().code(), code, "{change}");
    }
    world.network.check_change(&with_keys(&[(1, revoked), (2, revoked)])).unwrap();
    world.network.check_change(&Change::AddSubmitter(submitter(3, "second", 3))).unwrap();
    world.remove(2);
    let last = Change::RemoveValidator(secret(CONSENSUS, 1).public_key());
    assert_eq!(world.network.check_change(&last).unwrap_err(), ActRefusal::LastValidator);
    let full = World::new(22).network;
    let error = full.check_change(&Change::AddValidator(Box::new(validator(30)))).unwrap_err();
    assert_eq!(error, ActRefusal::TooManyValidators);
}

#[test]
fn what_is_removed_keeps_its_name_and_counts_no_more() {
    let mut world = World::new(1);
    world.enact(Change::RemoveSubmitter(SubmitterNumber(1)));
    world.enact(Change::RemoveAuthority(AuthorityNumber(1)));
    let network = &world.network;
    let submitter = network.submitter(SubmitterNumber(1)).unwrap();
    assert!(network.active_submitter(SubmitterNumber(1)).is_none());
    assert!(network.submitter_by_name(&submitter.name).is_none());
    let authority = network.authority(AuthorityNumber(1)).unwrap();
    assert!(!network.is_authority_active(AuthorityNumber(1)));
    assert!(network.authority_by_id(&authority.id).is_none());
    assert_eq!(network.authority_name(AuthorityNumber(1)), Some("SIMULATED_MFG_001"));
    let key = endorsement_key(1, EndorsementKeyState::Current).key_id;
    assert!(network.endorsement_key(key).is_some(), "old endorsements are still checked");
}

#[test]
fn a_document_is_not_revised_behind_its_first_act() {
    let mut world = World::new(1);
    world.enact(Change::RemoveSubmitter(SubmitterNumber(1)));
    let (bytes, _) = with_acts(&world.file, &world.proofs).unwrap();
    let refused = super::super::Revision::of(&bytes).unwrap_err();
    assert!(matches!(refused, super::super::RevisionError::HasActs));
}

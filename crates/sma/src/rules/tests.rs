use birthmark_core::hash::Digest;
use birthmark_core::ids::NetworkId;
use birthmark_core::network::EndorsementKeyState;

use super::*;
use crate::counters::Highest;
use crate::devices::DeviceId;
use crate::endorsement_keys::life::{self, KeyList, KeyRecord};
use crate::question::{AskedToken, Question};
use crate::quota::{Notice, QuotaOverride, Tally};
use crate::tables::AssignedTables;
use crate::testing::desk::{self, Camera, KEY, NOW};
use crate::validation::Opening;

const INVALID: Verdict = Verdict::Failed(Message::Invalid);

/// A camera, its row, and everything else that a verdict depends on.
struct Scene {
    camera: Camera,
    device: Standing,
    policy: Policy,
    signing: SigningKey,
    opening: Opening,
}

impl Scene {
    fn new() -> Self {
        let tables = AssignedTables::from_bytes(&[0, 1, 0, 2, 0, 3]).unwrap();
        Self {
            camera: Camera {
                serial: desk::serial(1),
                nuc_hash: desk::nuc_hash(1),
                tables: tables.clone(),
                generation: KeyGeneration(3),
            },
            device: Standing {
                id: DeviceId(1),
                status: Status::Active,
                tables,
                min_token_version: TokenVersion::One,
                generation: KeyGeneration(3),
                quota: QuotaOverride::default(),
                tally: Tally::default(),
                highest: Highest::default(),
            },
            policy: Policy { accept_version_1: true, quota: Quota::default() },
            signing: SigningKey { key_id: KEY, state: EndorsementKeyState::Current, replaced: None },
            opening: desk::opening(),
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut scene = Self::new();
        change(&mut scene);
        scene
    }

    fn loaded(&self) -> Loaded {
        let mut loaded = Loaded::default();
        loaded.add_device(&desk::keys().nuc_digest(&self.camera.nuc_hash), self.device.clone());
        loaded.set_signing_keys(vec![self.signing]);
        loaded
    }

    fn judge(&self, questions: &[&Question], loaded: &mut Loaded) -> (Vec<Verdict>, Vec<Pass>) {
        let prepared: Vec<_> = questions.iter().map(|question| self.opening.prepare("gate-1", question)).collect();
        let mut passes = Vec::new();
        let rules = Rules { keys: desk::keys(), policy: self.policy };
        (rules.judge(&prepared, NOW, loaded, &mut passes), passes)
    }

    /// The verdict on one question; what fails must leave nothing to be written.
    fn verdict(&self, question: &Question) -> Verdict {
        let (verdicts, passes) = self.judge(&[question], &mut self.loaded());
        assert_eq!(passes.len(), usize::from(!matches!(verdicts[0], Verdict::Failed(_))));
        verdicts[0]
    }

    fn both(&self) -> [Verdict; 2] {
        [self.verdict(&self.camera.version_1()), self.verdict(&self.camera.version_2(1))]
    }
}

#[test]
fn genuine_tokens_of_every_assigned_table_pass() {
    let scene = Scene::new();
    assert_eq!(scene.both(), [Verdict::Passed, Verdict::PassedToSign]);
    for table in [1, 2, 3] {
        let question = scene.camera.version_1_of(TableId::new(table).unwrap());
        assert_eq!(scene.verdict(&question), Verdict::Passed, "table {table}");
    }
}

type ChangeScene = fn(&mut Scene, AssignedTables, Tally);

#[test]
fn whatever_else_is_wrong_is_invalid_and_tells_no_more() {
    let other_tables = || AssignedTables::from_bytes(&[0, 4, 0, 5, 0, 6]).unwrap();
    let over = Tally { day: Day::of(NOW), count: 10_000 };
    let scenes: [(&str, ChangeScene); 4] = [
        ("revoked", |scene, _, _| scene.device.status = Status::Revoked),
        ("table of another", |scene, tables, _| scene.device.tables = tables),
        ("over quota", |scene, _, over| scene.device.tally = over),
        ("over its own quota", |scene, _, _| scene.device.quota.stop = Some(0)),
    ];
    for (case, change) in scenes {
        let scene = Scene::with(|scene| change(scene, other_tables(), over));
        assert_eq!(scene.both(), [INVALID, INVALID], "{case}");
    }
    let scene = Scene::new();
    let unknown = Camera { nuc_hash: desk::nuc_hash(2), ..scene.camera.clone() };
    assert_eq!(scene.verdict(&unknown.version_1()), INVALID);
    assert_eq!(scene.verdict(&unknown.version_2(1)), INVALID);
}

#[test]
fn version_1_is_refused_where_device_or_network_asks_for_version_2() {
    let device = Scene::with(|scene| scene.device.min_token_version = TokenVersion::Two);
    let network = Scene::with(|scene| scene.policy.accept_version_1 = false);
    for scene in [device, network] {
        assert_eq!(scene.both(), [INVALID, Verdict::PassedToSign]);
    }
}

#[test]
fn camera_of_the_same_table_cannot_speak_for_another() {
    let scene = Scene::new();
    // It knows the table's key and even the fingerprint, but not the device key.
    for generation in [0, 2, 4] {
        let forger = Camera { generation: KeyGeneration(generation), ..scene.camera.clone() };
        assert_eq!(scene.verdict(&forger.version_2(1)), INVALID, "key {generation}");
    }
    let mut theirs = scene.device.clone();
    theirs.id = DeviceId(2);
    let other = Camera { nuc_hash: desk::nuc_hash(2), ..scene.camera.clone() };
    let mut loaded = scene.loaded();
    loaded.add_device(&desk::keys().nuc_digest(&other.nuc_hash), theirs);
    let (verdicts, passes) = scene.judge(&[&other.version_2(1), &scene.camera.version_2(1)], &mut loaded);
    assert_eq!(verdicts, [Verdict::PassedToSign; 2]);
    assert_eq!(passes.iter().map(|pass| pass.device).collect::<Vec<_>>(), [DeviceId(2), DeviceId(1)]);
}

#[test]
fn version_2_token_of_another_network_or_authority_does_not_open() {
    let question = Scene::new().camera.version_2(1);
    let network = Scene::with(|scene| {
        scene.opening = Opening::new(desk::keys(), Some(NetworkId(Digest::from_bytes([1; 32]))));
    });
    assert_eq!(network.verdict(&question), INVALID);
    let none = Scene::with(|scene| scene.opening = Opening::new(desk::keys(), None));
    assert_eq!(none.verdict(&question), INVALID);
    assert_eq!(none.verdict(&none.camera.version_1()), Verdict::Passed);
    let master = crate::keys::MasterKey::from_slice(&[8; 32]).unwrap();
    let authority = Scene::with(|scene| {
        scene.opening = Opening::new(Arc::new(Keys::derive(&master)), Some(crate::testing::network()));
    });
    assert_eq!(authority.verdict(&question), INVALID);
}

type ChangeByte = fn(&mut Question, usize);

#[test]
fn every_changed_byte_of_a_version_2_question_is_noticed() {
    let scene = Scene::new();
    let genuine = scene.camera.version_2(1);
    let changes: [(&str, usize, ChangeByte); 8] = [
        ("ciphertext", 56, |q, at| bound(q).0.ciphertext[at] ^= 1),
        ("auth_tag", 16, |q, at| bound(q).0.auth_tag[at] ^= 0x80),
        ("nonce", 12, |q, at| bound(q).0.nonce[at] ^= 4),
        // The last one is a bit that X25519 ignores (RFC 7748 section 5), but HPKE covers the bytes.
        ("enc", 32, |q, at| bound(q).1.enc[at] ^= 0x80),
        ("blinded_message", 256, |q, at| bound(q).1.blinded_message[at] ^= 1),
        ("key_id", 8, |q, at| {
            let mut id = *bound(q).1.key_id.as_bytes();
            id[at] ^= 1;
            bound(q).1.key_id = EndorsementKeyId::from_bytes(id);
        }),
        ("key_index", 1, |q, _| bound(q).0.key_index = birthmark_core::ids::KeyIndex::new(10).unwrap()),
        ("table_id", 1, |q, _| bound(q).0.table_id = TableId::new(2).unwrap()),
    ];
    for (field, bytes, change) in changes {
        for at in (0..bytes).step_by(if bytes > 64 { 51 } else { 1 }) {
            let mut altered = desk::asked_anew(&genuine);
            change(&mut altered, at);
            assert_eq!(scene.verdict(&altered), INVALID, "{field}, byte {at}");
        }
    }
    for length in [0, 31, 32, 48, 55, 57, 72] {
        let mut altered = desk::asked_anew(&genuine);
        bound(&mut altered).0.ciphertext.resize(length, 0);
        assert_eq!(scene.verdict(&altered), INVALID, "{length} bytes");
    }
    assert_eq!(scene.verdict(&genuine), Verdict::PassedToSign);
}

fn bound(question: &mut Question) -> (&mut birthmark_core::token::SealedToken, &mut birthmark_core::token::Blinding) {
    match &mut question.token {
        AskedToken::Bound(token, blinding) => (token, blinding),
        AskedToken::Unbound(_) => panic!("not version 2"),
    }
}

#[test]
fn the_same_question_of_version_1_gets_its_first_verdict_whatever_has_changed() {
    let mut scene = Scene::new();
    let question = scene.camera.version_1();
    let mut loaded = scene.loaded();
    assert_eq!(scene.judge(&[&question], &mut loaded).0, [Verdict::Passed]);
    scene.device.status = Status::Revoked;
    scene.policy.accept_version_1 = false;
    loaded.add_device(&desk::keys().nuc_digest(&scene.camera.nuc_hash), scene.device.clone());
    assert_eq!(scene.judge(&[&question], &mut loaded), (vec![Verdict::Passed], vec![]));
    assert_eq!(scene.judge(&[&desk::asked_anew(&question)], &mut loaded).0, [INVALID]);
}

#[test]
fn of_several_faults_the_gravest_is_told() {
    let used = |scene: &Scene| {
        let mut loaded = scene.loaded();
        let first = Scene { signing: Scene::new().signing, policy: Scene::new().policy, ..Scene::new() };
        let mut fresh = first.loaded();
        let (_, passes) = first.judge(&[&first.camera.version_2(1)], &mut fresh);
        let Used::Counter(used) = passes[0].used else { panic!("no counter") };
        loaded.add_slot(DeviceId(1), used);
        loaded
    };
    let rekey = |scene: &mut Scene| scene.signing.state = EndorsementKeyState::Retired;
    // A used counter, an old key, revoked: one after the other is mended.
    let mut scene = Scene::with(|scene| {
        scene.device.highest = Highest::from_value(1).unwrap();
        scene.device.status = Status::Revoked;
        rekey(scene);
    });
    let question = scene.camera.version_2(1);
    assert_eq!(scene.judge(&[&question], &mut used(&scene)).0, [INVALID]);
    scene.device.status = Status::Active;
    assert_eq!(scene.judge(&[&question], &mut used(&scene)).0, [Verdict::Failed(Message::Used)]);
    assert_eq!(scene.verdict(&scene.camera.version_2(2)), Verdict::Failed(Message::Rekey));
    scene.device.highest = Highest::from_value(5000).unwrap();
    assert_eq!(scene.verdict(&scene.camera.version_2(2)), Verdict::Failed(Message::Stale));
    scene.device.tally = Tally { day: Day::of(NOW), count: 10_000 };
    assert_eq!(scene.verdict(&scene.camera.version_2(2)), INVALID);
}

#[test]
fn passes_count_for_both_versions_and_warn_once() {
    let scene = Scene::with(|scene| {
        scene.device.tally = Tally { day: Day::of(NOW), count: 7_998 };
        scene.device.highest = Highest::from_value(9).unwrap();
    });
    let (one, two) = (scene.camera.version_1(), scene.camera.version_2(10));
    let (low, last) = (scene.camera.version_2(4), scene.camera.version_1());
    let (verdicts, passes) = scene.judge(&[&one, &one, &two, &two, &low, &last], &mut scene.loaded());
    assert!(verdicts.iter().all(|verdict| !matches!(verdict, Verdict::Failed(_))));
    let counted: Vec<_> = passes.iter().map(|pass| (pass.tally.count, pass.highest.value(), pass.notice)).collect();
    assert_eq!(counted, [(7_999, 9, None), (8_000, 10, Some(Notice::Near)), (8_001, 10, None), (8_002, 10, None)]);
}

#[test]
fn a_limit_of_the_authority_is_met_within_a_batch() {
    let scene = Scene::with(|scene| scene.policy.quota = Quota { warn: 1, stop: 2 });
    let questions: Vec<_> = (1..=4).map(|counter| scene.camera.version_2(counter)).collect();
    let (verdicts, passes) = scene.judge(&questions.iter().collect::<Vec<_>>(), &mut scene.loaded());
    assert_eq!(verdicts, [Verdict::PassedToSign, Verdict::PassedToSign, INVALID, INVALID]);
    assert_eq!(passes.len(), 2);
}

#[test]
fn keys_sign_when_their_life_says_so() {
    use EndorsementKeyState::{Current, Previous, Retired, Revoked};
    let spki = life::tests::spki(1);
    let key_id = EndorsementKeyId::of_spki(&spki);
    let end = NOW.0 + 90 * desk::DAY;
    for (state, replaced) in [(Current, None), (Previous, Some(NOW)), (Retired, Some(NOW)), (Revoked, Some(NOW))] {
        let record = KeyRecord { key_id, spki: spki.clone(), state, created: NOW, replaced };
        let list = KeyList::new(vec![record]).unwrap();
        for now in [0, NOW.0 - 1, NOW.0, NOW.0 + 1, end - 1, end, end + 1, u32::MAX].map(Minute) {
            let signs = SigningKey { key_id, state, replaced }.signs(now);
            assert_eq!(
                signs,
                list.records().iter().any(|key| key.key_id == key_id && key.signs_at(now)),
                "{state:?} at {now:?}"
            );
        }
    }
}

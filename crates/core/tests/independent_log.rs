//! Programs that know nothing of Birthmark judge its log: `signed_note` the checkpoints,
//! `tlog_tiles` proofs, tiles and paths, `ed25519-consensus` the cosignatures. And the reverse.

#[cfg(test)]
mod independent_log {
    use std::collections::BTreeMap;

    use birthmark_core::checkpoint::{self, Checkpoint, CheckpointError};
    use birthmark_core::merkle::{self, Frontier, MerkleError, TreeHash, leaf_hash};
    use birthmark_core::note::{KeyName, Note, NoteSignature, NoteSigner, SecretKey, VerifierKey};
    use birthmark_core::policy::{Policy, PolicyMember};
    use birthmark_core::tile::{SubtreePlace, Tile, TileKind, kinds, new_tiles};
    use birthmark_core::time::UnixSeconds;
    use proptest::prelude::*;
    use signed_note::{NoteError, StandardSigner, StandardVerifier, Verifier, VerifierList};
    use tlog_tiles::tlog;

    const ORIGIN: &str = "birthmark.example/log";

    fn name(text: &str) -> KeyName {
        KeyName::new(text).unwrap()
    }

    fn log_signer() -> NoteSigner {
        NoteSigner::log(name(ORIGIN), SecretKey::from_seed(&[1; 32]))
    }

    fn cosigner() -> NoteSigner {
        NoteSigner::cosigner(name("v.example"), SecretKey::from_seed(&[2; 32]))
    }

    fn policy() -> Policy {
        let member = PolicyMember {
            name: "v".to_owned(),
            log: log_signer().verifier().clone(),
            cosigner: cosigner().verifier().clone(),
        };
        Policy::of_validators(&[member]).unwrap()
    }

    /// C2SP tlog-cosignature, written down a second time, over another Ed25519.
    struct Cosignatures {
        name: String,
        id: u32,
        key: ed25519_consensus::VerificationKey,
    }

    impl Cosignatures {
        fn of(name: &str, public_key: [u8; 32]) -> Self {
            let id = signed_note::key_id(name, &[&[4][..], &public_key].concat());
            let key = ed25519_consensus::VerificationKey::try_from(public_key).unwrap();
            Self { name: name.to_owned(), id, key }
        }
    }

    impl Verifier for Cosignatures {
        fn name(&self) -> &str {
            &self.name
        }

        fn key_id(&self) -> u32 {
            self.id
        }

        fn verify(&self, text: &[u8], value: &[u8]) -> bool {
            let (time, signature) = value.split_at(8);
            let time = u64::from_be_bytes(time.try_into().unwrap());
            let message = [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat();
            let signature = ed25519_consensus::Signature::from(<[u8; 64]>::try_from(signature).unwrap());
            self.key.verify(&signature, &message).is_ok()
        }
    }

    fn verifiers() -> VerifierList {
        let log = StandardVerifier::new(&log_signer().verifier().to_string()).unwrap();
        let cosigner = Cosignatures::of("v.example", *cosigner().verifier().public_key().as_bytes());
        VerifierList::new(vec![Box::new(log), Box::new(cosigner)])
    }

    fn published(checkpoint: &Checkpoint) -> String {
        let cosignature = checkpoint.cosign(&cosigner(), UnixSeconds(1_733_259_600)).unwrap();
        let log = checkpoint.log_signature(&log_signer()).unwrap();
        checkpoint.assemble(log, &[cosignature]).unwrap().to_string()
    }

    #[test]
    fn our_checkpoint_is_accepted_by_signed_note_and_read_by_tlog_tiles() {
        let root = leaf_hash(b"leaf");
        let text = published(&Checkpoint { origin: name(ORIGIN), size: 1, root });
        let note = signed_note::Note::from_bytes(text.as_bytes()).unwrap();
        let (verified, unverified) = note.verify(&verifiers()).unwrap();
        assert_eq!(verified.iter().map(signed_note::Signature::name).collect::<Vec<_>>(), [ORIGIN, "v.example"]);
        assert!(unverified.is_empty());
        assert_eq!(note.to_bytes(), text.as_bytes());
        let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((theirs.origin(), theirs.size(), theirs.extension()), (ORIGIN, 1, ""));
        assert_eq!(theirs.hash().0, *root.as_bytes());
    }

    #[test]
    fn a_cosignature_with_another_time_is_refused_by_both() {
        let checkpoint = Checkpoint { origin: name(ORIGIN), size: 1, root: leaf_hash(b"leaf") };
        let line = checkpoint.cosign(&cosigner(), UnixSeconds(60)).unwrap();
        let mut value = line.signature().to_vec();
        value[7] += 60;
        let forged = NoteSignature::new(line.name().clone(), line.key_id(), value);
        let text =
            checkpoint.assemble(checkpoint.log_signature(&log_signer()).unwrap(), &[forged]).unwrap().to_string();
        let theirs = signed_note::Note::from_bytes(text.as_bytes()).unwrap().verify(&verifiers());
        assert!(matches!(theirs, Err(NoteError::InvalidSignature { .. })));
        assert_eq!(checkpoint::verify(&text, &policy()), Err(CheckpointError::BadSignature(2)));
    }

    #[test]
    fn a_checkpoint_of_theirs_is_accepted_by_us() {
        let seed = birthmark_core::base64::encode([&[1][..], &[1; 32]].concat());
        let id = log_signer().verifier().id();
        let signer = StandardSigner::new(&format!("PRIVATE+KEY+{ORIGIN}+{id:08x}+{seed}")).unwrap();
        let text = tlog_tiles::Checkpoint::new(ORIGIN, 9, tlog::record_hash(b"leaf"), "").unwrap().to_bytes();
        let mut note = signed_note::Note::new(&text, &[]).unwrap();
        note.add_sigs(&[&signer]).unwrap();
        let note = String::from_utf8(note.to_bytes()).unwrap();
        let parsed = Note::parse(&note).unwrap();
        let ours: Checkpoint = parsed.text().parse().unwrap();
        assert_eq!((ours.size, ours.root), (9, leaf_hash(b"leaf")));
        let only_log = format!("log {}\nquorum none\n", log_signer().verifier());
        let verified = checkpoint::verify(&note, &Policy::parse(only_log.as_bytes()).unwrap()).unwrap();
        assert_eq!(verified.time, None);
        assert_eq!(checkpoint::verify(&note, &policy()), Err(CheckpointError::NoQuorum(0)));
    }

    #[test]
    fn verifier_keys_are_spelled_alike() {
        let key = log_signer().verifier().clone();
        let theirs = StandardVerifier::new(&key.to_string()).unwrap();
        assert_eq!((theirs.name(), theirs.key_id()), (ORIGIN, key.id()));
        assert_eq!(key.to_string().parse::<VerifierKey>(), Ok(key));
    }

    /// One tree in both programs' forms.
    struct Both {
        leaves: Vec<TreeHash>,
        ours: BTreeMap<(u8, u64), TreeHash>,
        theirs: Stored,
    }

    struct Stored(Vec<tlog::Hash>);

    impl tlog_tiles::HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
            Ok(indexes.iter().map(|at| self.0[usize::try_from(*at).unwrap()]).collect())
        }
    }

    impl Both {
        fn new(size: u64) -> Self {
            let (mut frontier, mut ours, mut leaves) = (Frontier::new(), BTreeMap::new(), Vec::new());
            let mut theirs = Stored(Vec::new());
            for i in 0..size {
                let leaf = i.to_be_bytes();
                leaves.push(leaf_hash(&leaf));
                frontier
                    .append(leaf_hash(&leaf), |level, at, hash| {
                        ours.insert((level, at), *hash);
                    })
                    .unwrap();
                let new = tlog::stored_hashes(i, &leaf, &theirs).unwrap();
                theirs.0.extend(new);
            }
            Self { leaves, ours, theirs }
        }

        fn source(&self) -> impl FnMut(u8, u64) -> Result<TreeHash, MerkleError> {
            |level, at| self.ours.get(&(level, at)).copied().ok_or(MerkleError::Full)
        }
    }

    fn to_theirs(hash: &TreeHash) -> tlog::Hash {
        tlog::Hash(*hash.as_bytes())
    }

    fn all_to_theirs(hashes: &[TreeHash]) -> Vec<tlog::Hash> {
        hashes.iter().map(to_theirs).collect()
    }

    fn all_to_ours(hashes: &[tlog::Hash]) -> Vec<TreeHash> {
        hashes.iter().map(|hash| TreeHash::from_bytes(hash.0)).collect()
    }

    #[test]
    fn roots_and_proofs_are_the_same_and_each_accepts_the_others() {
        let both = Both::new(130);
        for size in [1, 2, 3, 64, 65, 127, 130] {
            let root = merkle::root(size, &mut both.source()).unwrap();
            let their_root = tlog::tree_hash(size, &both.theirs).unwrap();
            assert_eq!(their_root, to_theirs(&root));
            for index in 0..size {
                let leaf = &both.leaves[usize::try_from(index).unwrap()];
                let proof = merkle::prove_inclusion(index, size, &mut both.source()).unwrap();
                tlog::check_record(&all_to_theirs(&proof), size, their_root, index, to_theirs(leaf)).unwrap();
                let theirs = tlog::prove_record(size, index, &both.theirs).unwrap();
                merkle::verify_inclusion(leaf, index, size, &all_to_ours(&theirs), &root).unwrap();
                assert_eq!(all_to_ours(&theirs), proof);
            }
            for old in 1..=size {
                let old_root = merkle::root(old, &mut both.source()).unwrap();
                let proof = merkle::prove_consistency(old, size, &mut both.source()).unwrap();
                tlog::check_tree(&all_to_theirs(&proof), size, their_root, old, to_theirs(&old_root)).unwrap();
                let theirs = tlog::prove_tree(size, old, &both.theirs).unwrap();
                merkle::verify_consistency(old, size, &all_to_ours(&theirs), &old_root, &root).unwrap();
            }
        }
    }

    /// Their tile of height 8 in the place of ours.
    fn their_tile(tile: &Tile) -> tlog_tiles::Tile {
        let is_data = tile.kind() == TileKind::Entries;
        tlog_tiles::Tile::new(8, tile.kind().level(), tile.index(), tile.width().into(), is_data)
    }

    /// Their path names the height, and leaves are called data.
    fn their_path(tile: &Tile) -> String {
        tile.to_string().replacen("tile/", "tile/8/", 1).replacen("entries", "data", 1)
    }

    /// Leaves of a tree with two full tiles.
    const SIZE: u64 = 700;

    #[test]
    fn a_log_has_the_same_tiles_with_the_same_hashes() {
        for (old, new) in [(0, 1), (0, 256), (256, 257), (255, 70_000), (65_535, 65_537), (70_000, 70_000)] {
            let mut ours: Vec<String> = kinds()
                .filter(|kind| *kind != TileKind::Entries)
                .flat_map(|kind| new_tiles(kind, old, new))
                .map(|tile| their_path(&tile))
                .collect();
            let mut theirs: Vec<String> =
                tlog_tiles::Tile::new_tiles(8, old, new).iter().map(tlog_tiles::Tile::path).collect();
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "{old} to {new}");
        }
        let both = Both::new(SIZE);
        for level in 0..2 {
            for tile in new_tiles(TileKind::Hashes { level }, 0, SIZE) {
                let data = their_tile(&tile).read_data(&both.theirs).unwrap();
                let ours: Vec<u8> = (0..u64::from(tile.width()))
                    .flat_map(|i| *both.ours[&(level * 8, tile.first_item() + i)].as_bytes())
                    .collect();
                assert_eq!(ours, data);
            }
        }
        for ((level, at), hash) in &both.ours {
            let place = SubtreePlace::of(*level, *at).unwrap();
            let kind = TileKind::Hashes { level: place.tile_level };
            let tile = their_tile(&Tile::in_tree(kind, place.tile_index, SIZE).unwrap());
            let data = tile.read_data(&both.theirs).unwrap();
            let stored = tlog::stored_hash_index(*level, *at);
            assert_eq!(tile.hash_at_index(&data, stored).unwrap(), to_theirs(hash));
            assert_eq!(place.hash_in(&data), Ok(*hash));
        }
    }

    proptest! {
        #[test]
        fn paths_are_spelled_alike(level in 0u8..8, index: u64, width in 1u16..=256, entries: bool) {
            let kind = if entries { TileKind::Entries } else { TileKind::Hashes { level } };
            let index = index >> (8 * (kind.level() + 1) % 64);
            if let Ok(tile) = Tile::new(kind, index, width) {
                prop_assert_eq!(their_path(&tile), their_tile(&tile).path());
                if let Ok(read) = tlog_tiles::Tile::from_path(&their_path(&tile)) {
                    prop_assert_eq!(read, their_tile(&tile));
                }
            }
        }
    }
}

//! Snapshots of a real ledger, whole and damaged in every way.

use birthmark_core::batch::{BlockBatch, Place};
use birthmark_ledger::Block;
use birthmark_ledger::block::{Header, encode_payload};
use tempfile::TempDir;

use super::*;
use crate::config::KeyFiles;
use crate::testing::{NOW, batch, chain, network};

struct World {
    folder: TempDir,
    network: Arc<Network>,
}

/// A node with five blocks, two of them empty, that has published its log.
fn recorded() -> World {
    let folder = tempfile::tempdir().unwrap();
    let network = network(1, &[]);
    let node = chain(folder.path(), &network, 0);
    let epoch = network.current_epoch();
    let header = Header { minute: NOW.minute(), epoch: epoch.number(), validator_set_hash: epoch.validator_set_hash() };
    for height in 1..=5u8 {
        let batch = batch(&network, u16::from(height) * 10..u16::from(height) * 10 + 10);
        let places = batch.transactions.into_iter().map(Place::Record).collect();
        let batch = BlockBatch { submitter: batch.submitter, places, signature: batch.signature };
        let payload = if height % 2 == 0 { Vec::new() } else { encode_payload(&[batch]) };
        let block = Block {
            height: Height(height.into()),
            digest: [height; 32],
            parent: [height - 1; 32],
            header: &header.encode(),
            payload: &payload,
        };
        node.ledger.apply_final(&[block]).unwrap();
        node.sign(&[]).unwrap();
    }
    World { folder, network }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self) -> Vec<u8> {
        let out = self.path("out");
        let made = export(&self.path("node-0"), &self.network, &out, &mut |_| ()).unwrap();
        assert_eq!((made.head.height, made.head.size), (Height(5), 34));
        std::fs::read(out).unwrap()
    }

    fn import(&self, bytes: &[u8], name: &str) -> Result<Snapshot, NodeError> {
        let file = self.path("in");
        std::fs::write(&file, bytes).unwrap();
        import(&self.path(name), &self.network, &file, &mut |_| ())
    }

    fn refused(&self, bytes: &[u8]) -> SnapshotError {
        let refused = self.import(bytes, "other").unwrap_err();
        assert!(!self.path("other/ledger").exists(), "nothing was put in place");
        match refused {
            NodeError::Snapshot(cause) => cause,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_is_exported_is_imported_whole_with_its_checkpoint() {
    let world = recorded();
    let bytes = world.export();
    // What an interrupted import left is no ledger, and in nobody's way.
    std::fs::create_dir_all(world.path("other/ledger.new/rest")).unwrap();
    let imported = world.import(&bytes, "other").unwrap();
    let ledger = Ledger::open(&world.path("other/ledger"), Arc::clone(&world.network)).unwrap();
    assert_eq!(ledger.head(), imported.head);
    let own = Ledger::open(&world.path("node-0/ledger"), Arc::clone(&world.network)).unwrap();
    assert_eq!(own.head(), imported.head);
    assert_eq!(ledger.checkpoint().unwrap(), own.checkpoint().unwrap());
    drop((ledger, own));
    assert!(!world.path("other/ledger.new").exists());
    let again = world.import(&bytes, "other").unwrap_err();
    assert!(matches!(again, NodeError::Snapshot(SnapshotError::LedgerThere(_))), "{again}");
    let twice = export(&world.path("node-0"), &world.network, &world.path("out"), &mut |_| ()).unwrap_err();
    assert!(twice.to_string().contains("exists"), "{twice}");
}

#[test]
fn a_validators_ledger_says_nothing_of_what_others_have_published() {
    let world = recorded();
    let bytes = world.export();
    std::fs::create_dir(world.path("other")).unwrap();
    std::fs::write(world.path("other").join(KeyFiles::VALIDATOR), [1; 32]).unwrap();
    world.import(&bytes, "other").unwrap();
    let ledger = Ledger::open(&world.path("other/ledger"), Arc::clone(&world.network)).unwrap();
    assert_eq!(ledger.checkpoint().unwrap(), None);
}

#[test]
fn every_changed_or_missing_byte_is_refused_and_puts_nothing_in_place() {
    let world = recorded();
    let bytes = world.export();
    for at in (0..bytes.len()).step_by(311).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        world.refused(&changed);
        world.refused(&bytes[..at]);
    }
    assert!(matches!(world.refused(&[bytes.as_slice(), &[0]].concat()), SnapshotError::Length));
    assert!(matches!(world.refused(b"anything"), SnapshotError::NotASnapshot));
}

#[test]
fn a_snapshot_with_a_right_checksum_and_wrong_blocks_is_refused_by_cause() {
    let world = recorded();
    let bytes = world.export();
    let sealed = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 32);
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        [bytes, hash.to_vec()].concat()
    };
    assert_eq!(sealed(bytes.clone()), bytes);
    let note_at = MAGIC.len() + 32 + 4;
    let note = u32::from_be_bytes(bytes[note_at - 4..note_at].try_into().unwrap()) as usize;
    // The last block is the last with records; without it the log is another than the checkpoint's.
    let mut shorter = bytes.clone();
    shorter[note_at + note..note_at + note + 8].copy_from_slice(&3u64.to_be_bytes());
    assert!(matches!(world.refused(&sealed(shorter)), SnapshotError::Length | SnapshotError::Checksum));
    // A record's hash, which the batch's signature covers.
    let mut changed = bytes.clone();
    let at = bytes.len() - 32 - 64 - 10;
    changed[at] ^= 1;
    assert!(matches!(world.refused(&sealed(changed)), SnapshotError::Blocks(LedgerError::Invalid { .. })));
    // An index root that is not this ledger's is not even looked at: the own one counts.
    let mut other = bytes.clone();
    other[MAGIC.len()] ^= 1;
    assert!(matches!(world.refused(&sealed(other)), SnapshotError::OtherNetwork));
    let mut unsigned = bytes;
    unsigned[note_at + note - 20] ^= 1;
    assert!(matches!(world.refused(&sealed(unsigned)), SnapshotError::Checkpoint(_)));
}

//! Damage of every kind, made behind the ledger's back, is found and named.

use super::*;
use crate::fsck::{Damage, SignedTree, Sound, check};
use crate::store::{Section, Store, body_key, pack_list, tile_key};

/// Where, under which key, and what stands there instead.
type Case<'a> = (Section, Vec<u8>, Option<&'a [u8]>);

/// Blocks of 200 records, one endorsed: tiles of two levels, one of them complete.
fn filled() -> Fixture {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let wide = |seed: u16| {
        let hash = ImageHash::of(&seed.to_be_bytes());
        (
            Assurance::Attested,
            body("MFG", vec![Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None }]),
        )
    };
    let header = fixture.header(MINUTE);
    for (height, first) in [(1, 0), (2, 200)] {
        let bodies: Vec<_> = (first..first + 200).map(wide).collect();
        let payload = encode_payload(&[fixture.batch(1, &bodies)]);
        ledger.apply_final(&[block(height, &header, &payload)]).unwrap();
    }
    let endorsed = encode_payload(&[fixture.batch(1, &[(Assurance::Endorsed, capture(3))])]);
    ledger.apply_final(&[block(3, &header, &endorsed), block(4, &header, &[])]).unwrap();
    fixture
}

impl Fixture {
    fn check(&self, signed: &[SignedTree]) -> Result<Sound, Box<Damage>> {
        check(self.folder.path(), &self.network, signed, &mut |progress| assert!(progress.done <= progress.total))
            .unwrap()
            .map_err(Box::new)
    }

    fn damaged(&self) -> Damage {
        *self.check(&[]).unwrap_err()
    }
}

#[test]
fn a_sound_ledger_is_found_sound() {
    let fixture = filled();
    let ledger = fixture.open();
    let (head, images) = (ledger.head(), ledger.reading().unwrap().image_count());
    let early = SignedTree { place: "cosign.state", size: 7, root: ledger.root(7).unwrap() };
    drop(ledger);
    assert_eq!(fixture.check(&[early]), Ok(Sound { head, images, endorsements: 1 }));
    let empty = Fixture::new();
    drop(empty.open());
    assert!(empty.check(&[]).is_ok(), "genesis alone");
}

#[test]
fn a_value_that_was_changed_removed_or_added_is_named_in_every_keyspace() {
    let fixture = filled();
    let image = *ImageHash::of(&9u16.to_be_bytes()).index_key().as_bytes();
    let list = pack_list(&[IndexRecord { tx_id: TxId(7), entry: 1, assurance: Assurance::Endorsed }]);
    let be = |number: u64| number.to_be_bytes().to_vec();
    let digest = body_key(capture(3).digest().as_bytes());
    // 1 + 201 + 201 + 2 leaves: the endorsed record is 403.
    let cases: [Case<'_>; 23] = [
        (Section::Leaves, be(5), Some(&[1, 1, 0])),
        (Section::Leaves, be(300), None),
        (Section::Leaves, be(405), Some(&[1])),
        (Section::Tiles, tile_key(0, 0).to_vec(), Some(&[7; 272 * 32])),
        (Section::Tiles, tile_key(0, 1).to_vec(), Some(&[7; 149 * 32])),
        (Section::Tiles, tile_key(1, 0).to_vec(), Some(&[7; 32])),
        (Section::Tiles, tile_key(1, 0).to_vec(), None),
        (Section::Tiles, tile_key(2, 0).to_vec(), Some(&[7; 32])),
        (Section::Index, image.to_vec(), Some(&list)),
        (Section::Index, image.to_vec(), None),
        (Section::Index, vec![0xff; 32], Some(&list)),
        (Section::Bodies, digest.to_vec(), None),
        (Section::Bodies, vec![3; 16], Some(&[1, 9])),
        (Section::Blocks, be(4), None),
        (Section::Blocks, be(2), Some(&[0; 80])),
        (Section::Frames, be(2), None),
        (Section::Frames, be(3), Some(&[1; 42])),
        (Section::Frames, be(9), Some(&[1; 42])),
        (Section::Starts, be(202), Some(&[0; 8])),
        (Section::Starts, be(203), Some(&[0; 8])),
        (Section::Endorsements, be(403), Some(b"another")),
        (Section::Endorsements, be(9), Some(b"one more")),
        (Section::Meta, b"head".to_vec(), Some(&[0; 84])),
    ];
    for (section, key, value) in cases {
        let store = Arc::new(Store::open(fixture.folder.path()).unwrap());
        let before = store.reader().raw(section, &key).unwrap();
        store.damage(section.name(), &key, value);
        drop(store);
        let damage = fixture.damaged();
        // Without its head the store has no log that could go on.
        let named = if section == Section::Meta { "blocks" } else { section.name() };
        assert_eq!(damage.keyspace, named, "{section:?} {key:?}: {damage}");
        if section != Section::Meta {
            assert_eq!(damage.key, key, "{section:?}: {damage}");
        }
        let store = Store::open(fixture.folder.path()).unwrap();
        store.damage(section.name(), &key, before.as_deref());
    }
    assert!(fixture.check(&[]).is_ok(), "all is as it was");
}

#[test]
fn a_leaf_that_was_exchanged_for_another_valid_one_is_named_and_not_its_tile() {
    for tx_id in [5u64, 300] {
        let fixture = filled();
        let ledger = fixture.open();
        let other = index::all_leaves(&ledger).remove(6);
        let should = leaf_hash(&index::all_leaves(&ledger).remove(usize::try_from(tx_id).unwrap()));
        drop(ledger);
        Store::open(fixture.folder.path()).unwrap().damage("leaves", &tx_id.to_be_bytes(), Some(&other));
        let damage = fixture.damaged();
        assert_eq!((damage.keyspace, damage.key.as_slice()), ("leaves", &tx_id.to_be_bytes()[..]), "{damage}");
        let hash = birthmark_core::hex::encode(should.as_bytes());
        assert_eq!(damage.should, format!("a leaf with hash {hash}"));
    }
}

#[test]
fn a_tree_that_was_signed_and_is_not_the_logs_is_damage() {
    let fixture = filled();
    let root = fixture.open().root(7).unwrap();
    for (size, place) in [(8, "cosign.state"), (1000, "cosign.state")] {
        let damage = fixture.check(&[SignedTree { place, size, root }]).unwrap_err();
        assert_eq!(damage.keyspace, "meta");
        assert!(damage.should.contains("cosign.state"), "{damage}");
    }
}

#[test]
fn one_flipped_byte_on_disk_is_found_in_every_keyspace_with_its_file_and_range() {
    let sections = [Section::Meta, Section::Leaves, Section::Tiles, Section::Index, Section::Bodies, Section::Blocks]
        .into_iter()
        .chain([Section::Starts, Section::Endorsements]);
    for section in sections {
        let fixture = filled();
        let store = Store::open(fixture.folder.path()).unwrap();
        let tables = store.flush(section).join("tables");
        drop(store);
        assert!(fixture.check(&[]).is_ok());
        let file = std::fs::read_dir(&tables).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        // Behind the header of the first block, which holds values.
        bytes[40] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let damage = fixture.damaged();
        assert_eq!(damage.keyspace, section.name(), "{damage}");
        let location = damage.location.clone().unwrap_or_else(|| panic!("{damage}"));
        assert_eq!(location.file, file);
        assert!((location.from..location.to).contains(&40), "{location:?}");
        // What a start reads is refused then; what it does not read is refused when it is asked for.
        match Ledger::open(fixture.folder.path(), Arc::clone(&fixture.network)) {
            Err(refused) => assert!(matches!(refused, LedgerError::Store(StoreError::Database(_))), "{refused}"),
            Ok(ledger) => {
                assert!(![Section::Meta, Section::Index].contains(&section), "a start reads all of {section:?}");
                assert!(ledger.store.reader().all(section).any(|entry| entry.is_err()), "{section:?}");
            }
        }
    }
}

#[test]
fn another_networks_ledger_is_not_damaged_but_cannot_be_checked() {
    let fixture = filled();
    let mut changed = NetworkBuilder::new(KeyName::new("other.example/log").unwrap(), Minute(MINUTE));
    changed.validators = fixture.network.genesis().validators().to_vec();
    let (_, changed) = changed.build().unwrap().sign(&[&secret(2)]).unwrap();
    let refused = check(fixture.folder.path(), &changed, &[], &mut |_| {}).unwrap_err();
    assert!(matches!(refused, LedgerError::Store(StoreError::OtherNetwork)), "{refused}");
}

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::merkle::{Frontier, leaf_hash};

fn hashes(level: u8, index: u64, width: u16) -> Tile {
    Tile::new(TileKind::Hashes { level }, index, width).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    for (tile, path) in [
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(7, 0, 255), "tile/7/000.p/255"),
        (hashes(1, 1000, 1), "tile/1/x001/000.p/1"),
        (hashes(0, 999, 112), "tile/0/999.p/112"),
        (Tile::new(TileKind::Entries, 273, 112).unwrap(), "tile/entries/273.p/112"),
        (hashes(0, (1 << 56) - 1, 256), "tile/0/x072/x057/x594/x037/x927/935"),
    ] {
        assert_eq!(tile.to_string(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
}

#[test]
fn other_spellings_and_impossible_tiles_are_refused() {
    for bad in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/+0/000",
        "tile/8/000",
        "tile/63/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/entries/x000/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/x001//002",
        "tile/0/X001/002",
        "tile/0/001.p",
        "tile/0/001.p/",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/1.p/1",
        "tile/0/001.p/+1",
        "tile/0/001/",
        "tile/0/001 ",
        "tile/0/٠٠١",
        "tile/0/../000",
        "tile/0/x072/x057/x594/x037/x927/936",
        "tile/7/001",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(bad.parse::<Tile>().is_err(), "{bad}");
    }
}

#[test]
fn a_tree_of_70_000_leaves_has_the_tiles_that_the_specification_counts() {
    let of = |level| new_tiles(TileKind::Hashes { level }, 0, 70_000).collect::<Vec<_>>();
    assert_eq!(of(0).len(), 274);
    assert_eq!(of(0).last(), Some(&hashes(0, 273, 112)));
    assert_eq!(of(1), [hashes(1, 0, 256), hashes(1, 1, 17)]);
    assert_eq!(of(2), [hashes(2, 0, 1)]);
    assert_eq!(of(3), []);
    assert_eq!(new_tiles(TileKind::Hashes { level: 1 }, 0, 256).collect::<Vec<_>>(), [hashes(1, 0, 1)]);
    assert_eq!(new_tiles(TileKind::Entries, 256, 256).count(), 0);
}

#[test]
fn the_largest_tree_has_tiles_at_every_level() {
    for kind in kinds() {
        let last = (u64::MAX >> (kind.level() * 8)) >> 8;
        let tile = Tile::in_tree(kind, last, u64::MAX).unwrap();
        assert_eq!(tile.width(), 255);
        assert!(tile.exists_in(u64::MAX));
        assert_eq!(new_tiles(kind, u64::MAX - 1, u64::MAX).count(), usize::from(kind.level() == 0));
    }
    assert_eq!(Tile::in_tree(TileKind::Hashes { level: 7 }, 1, u64::MAX), None);
    assert_eq!(Tile::in_tree(TileKind::Hashes { level: 8 }, 0, u64::MAX), None);
}

#[test]
fn subtrees_come_out_of_tiles_as_they_are_in_the_tree() {
    const SIZE: u64 = 1500;
    let mut tree = Frontier::new();
    let mut nodes = std::collections::BTreeMap::new();
    for i in 0..SIZE {
        tree.append(leaf_hash(&i.to_be_bytes()), |level, at, hash| {
            nodes.insert((level, at), *hash);
        })
        .unwrap();
    }
    for ((level, at), hash) in &nodes {
        let place = SubtreePlace::of(*level, *at).unwrap();
        let tile = Tile::in_tree(TileKind::Hashes { level: place.tile_level }, place.tile_index, SIZE).unwrap();
        assert!(tile.width() >= place.min_tile().unwrap().width());
        let bytes: Vec<u8> = (tile.first_item()..tile.first_item() + u64::from(tile.width()))
            .flat_map(|item| *nodes[&(place.tile_level * 8, item)].as_bytes())
            .collect();
        assert_eq!(place.hash_in(&bytes), Ok(*hash));
        assert!(place.hash_in(&bytes[1..]).is_err());
        assert!(place.hash_in(&[]).is_err());
    }
    for (level, index) in [(64, 0), (63, 2), (1, 1 << 63), (255, 0)] {
        assert_eq!(SubtreePlace::of(level, index), Err(TileError::OutOfRange));
    }
    assert!(SubtreePlace::of(63, 1).is_ok());
    assert!(SubtreePlace::of(0, u64::MAX).is_ok());
}

#[test]
fn bundles_with_another_number_of_leaves_are_refused() {
    let bytes = encode_entries([&b"a"[..], b"", b"bc"]).unwrap();
    assert_eq!(bytes, b"\x00\x01a\x00\x00\x00\x02bc");
    assert_eq!(decode_entries(&bytes, 3).unwrap(), [&b"a"[..], b"", b"bc"]);
    assert_eq!(decode_entries(&bytes, 2), Err(TileError::EntryCount { expected: 2 }));
    assert_eq!(decode_entries(&bytes, 4), Err(TileError::EntryCount { expected: 4 }));
    assert_eq!(decode_entries(&bytes[..8], 3), Err(TileError::Truncated));
    assert_eq!(decode_entries(&bytes[..6], 3), Err(TileError::Truncated));
    assert_eq!(encode_entries([vec![0u8; 65_536].as_slice()]), Err(TileError::EntryLength(65_536)));
}

proptest! {
    #[test]
    fn paths_round_trip(level in 0u8..8, index: u64, width in 1u16..=256, entries: bool) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes { level } };
        if let Ok(tile) = Tile::new(kind, index >> (8 * (kind.level() + 1) % 64), width) {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }
    }

    #[test]
    fn no_path_has_a_second_spelling(path in "tile/([0-9]{1,2}|entries)/(x?[0-9]{3}/){0,3}x?[0-9]{3}(\\.p/[0-9]{1,3})?") {
        if let Ok(tile) = path.parse::<Tile>() {
            prop_assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn growing_in_two_steps_reaches_every_tile_that_one_step_does(a in 0u64..200_000, b in 0u64..200_000) {
        let (old, new) = (a.min(b), a.max(b));
        for kind in kinds() {
            let at_once: BTreeSet<_> = new_tiles(kind, 0, new).collect();
            let steps: BTreeSet<_> =
                new_tiles(kind, 0, old).chain(new_tiles(kind, old, new)).filter(|t| at_once.contains(t)).collect();
            prop_assert_eq!(&steps, &at_once);
            for tile in at_once {
                prop_assert!(tile.exists_in(new));
            }
        }
    }

    #[test]
    fn bundles_round_trip(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40)) {
        let bytes = encode_entries(leaves.iter().map(Vec::as_slice)).unwrap();
        let width = u16::try_from(leaves.len()).unwrap();
        prop_assert_eq!(decode_entries(&bytes, width).unwrap(), leaves);
    }
}

use proptest::prelude::*;

use super::*;

fn entry(level: Level, seed: u8, parent: Parent) -> Entry {
    Entry { level, kind: Kind::File, hash: ImageHash::from_bytes([seed; 32]), parent }
}

pub(crate) fn capture() -> Body {
    let entries = vec![entry(Level::Raw, 1, Parent::None), entry(Level::Validated, 2, Parent::Entry(1))];
    Body {
        authority: AuthorityId::new("SIMULATED_MFG_001").unwrap(),
        entries: Entries::new(entries, None, None).unwrap(),
    }
}

#[test]
fn structure_is_checked() {
    let outside = ImageHash::from_bytes([1; 32]);
    let cases = [
        (vec![], EntriesError::Count(0)),
        (vec![entry(Level::Raw, 1, Parent::None); 9], EntriesError::Count(9)),
        (vec![entry(Level::Raw, 1, Parent::None); 2], EntriesError::Repeated(2)),
        (vec![entry(Level::Raw, 1, Parent::Explicit(outside))], EntriesError::RawWithParent(1)),
        (vec![entry(Level::Validated, 1, Parent::Entry(1))], EntriesError::ParentOrder(1)),
        (
            vec![entry(Level::Raw, 1, Parent::None), entry(Level::Modified, 2, Parent::Entry(3))],
            EntriesError::ParentOrder(2),
        ),
        (
            vec![entry(Level::Raw, 1, Parent::None), entry(Level::Modified, 2, Parent::Explicit(outside))],
            EntriesError::ParentInside(2),
        ),
    ];
    for (entries, expected) in cases {
        assert_eq!(Entries::new(entries, None, None), Err(expected));
    }
}

#[test]
fn truncated_extended_and_out_of_range_bytes_are_refused() {
    let good = capture().encode();
    for cut in 0..good.len() {
        assert!(Body::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(Body::decode(&longer), Err(DecodeError::Trailing(1).into()));
    let name_end = 1 + capture().authority.as_str().len();
    for (at, value) in [(0, 0), (1, 0x07), (name_end, 0), (name_end, 9), (name_end + 1, 3), (name_end + 2, 2)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(Body::decode(&bad).is_err(), "byte {at} = {value}");
    }
    let mut bad_flags = good;
    *bad_flags.last_mut().unwrap() = 4;
    assert!(Body::decode(&bad_flags).is_err());
}

pub(crate) fn any_entries() -> impl Strategy<Value = Entries> {
    let parents = prop::collection::vec((any::<[u8; 32]>(), 0u8..3, any::<bool>(), 0u8..12, any::<[u8; 32]>()), 1..=8);
    (parents, any::<Option<[u8; 32]>>(), any::<Option<[u8; 32]>>()).prop_filter_map(
        "structurally valid",
        |(raw, owner, gps)| {
            let entries = raw
                .into_iter()
                .enumerate()
                .map(|(at, (hash, level, image_data, parent, outside))| {
                    let level = [Level::Raw, Level::Validated, Level::Modified][usize::from(level)];
                    let parent = match parent {
                        _ if level == Level::Raw => Parent::None,
                        0 => Parent::None,
                        n if usize::from(n) <= at => Parent::Entry(n),
                        _ => Parent::Explicit(ImageHash::from_bytes(outside)),
                    };
                    let kind = if image_data { Kind::ImageData } else { Kind::File };
                    Entry { level, kind, hash: ImageHash::from_bytes(hash), parent }
                })
                .collect();
            Entries::new(entries, owner.map(Digest::from_bytes), gps.map(Digest::from_bytes)).ok()
        },
    )
}

proptest! {
    #[test]
    fn every_body_round_trips(entries in any_entries(), name in "[ -~]{1,64}") {
        let body = Body { authority: AuthorityId::new(name).unwrap(), entries };
        let bytes = body.encode();
        prop_assert!(bytes.len() <= MAX_BODY);
        prop_assert_eq!(Body::decode(&bytes).unwrap(), body);
    }

    #[test]
    fn whatever_decodes_is_the_one_encoding_of_its_value(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(body) = Body::decode(&bytes) {
            prop_assert_eq!(body.encode(), bytes);
        }
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::batch::Assurance;
use crate::ids::TxId;
use crate::index::trie::{root_of, verify_absence, verify_inclusion};

fn image(number: u16) -> ImageHash {
    ImageHash::of(&number.to_be_bytes())
}

fn bundle(index: u64) -> ProofBundle {
    ProofBundle {
        leaf: vec![1; 40],
        endorsement: index.is_multiple_of(2).then(|| vec![2; 264]),
        index,
        path: vec![TreeHash::from_bytes([3; 32]); 2],
        checkpoint: "note\n".to_owned(),
    }
}

fn filed(number: u16) -> PrefixImage {
    let record = IndexRecord { tx_id: TxId(number.into()), entry: 1, assurance: Assurance::Attested };
    PrefixImage::new(image(number).index_key(), vec![record], &bundle(number.into()))
}

/// An index of the images of these numbers, its root, and its page for what begins as `key` with so many bits.
fn page(numbers: &[u16], key: &Digest, bits: usize) -> (PrefixPage, Digest) {
    let all: BTreeMap<_, _> = numbers.iter().map(|number| (image(*number).index_key(), filed(*number))).collect();
    let leaves: Vec<_> = all.values().map(PrefixImage::trie_leaf).collect();
    let shares = |other: &Digest, bits| (0..bits).all(|depth| is_right(other, depth) == is_right(key, depth));
    let mut siblings = trie::path_of(&leaves, 0, key).siblings;
    siblings.truncate(bits);
    let images = all.into_values().filter(|image| shares(&image.key, siblings.len())).collect();
    let page = PrefixPage {
        prefix: KeyPrefix::of(key, 2),
        from: KeyPrefix::of(key, 2).first(),
        checkpoint: "note\n".to_owned(),
        leaf: "01".repeat(90),
        inclusion: vec![Digest::from_bytes([4; 32])],
        siblings,
        images,
        next: None,
    };
    (page, root_of(&leaves, 0))
}

proptest! {
    #[test]
    fn every_image_of_a_page_is_proven_there_or_proven_absent(
        numbers in prop::collection::btree_set(any::<u16>(), 0..300), asked in any::<u16>(), bits in 0usize..=8,
    ) {
        let numbers: Vec<_> = numbers.into_iter().collect();
        let key = image(asked).index_key();
        let (page, root) = page(&numbers, &key, bits);
        let text = serde_json::to_vec(&page).unwrap();
        let page = { prop_assert_eq!(&PrefixPage::parse(&text).unwrap(), &page); page };
        for number in numbers.iter().copied().chain([asked]) {
            let key = image(number).index_key();
            let here = (0..page.siblings.len()).all(|depth| is_right(&key, depth) == is_right(&page.from, depth));
            match page.about(&image(number)).unwrap() {
                Said::Elsewhere => prop_assert!(!here),
                Said::Record(proof) => prop_assert!(numbers.contains(&number) && *proof == bundle(number.into())),
                Said::Absent(proof) => {
                    prop_assert!(!numbers.contains(&number));
                    verify_absence(&key, &proof.siblings, proof.other.as_ref(), &root).unwrap();
                }
            }
        }
    }

    #[test]
    fn image_that_a_server_leaves_out_is_not_proven_absent(
        numbers in prop::collection::btree_set(any::<u16>(), 1..300), which in any::<prop::sample::Index>(),
    ) {
        let numbers: Vec<_> = numbers.into_iter().collect();
        let left_out = image(*which.get(&numbers));
        let key = left_out.index_key();
        let (mut page, root) = page(&numbers, &key, 4);
        page.images.retain(|image| image.key != key);
        let Said::Absent(proof) = page.about(&left_out).unwrap() else { panic!("it is not there") };
        prop_assert!(verify_absence(&key, &proof.siblings, proof.other.as_ref(), &root).is_err());
    }

    #[test]
    fn prefixes_round_trip_and_cover_what_begins_so(key in any::<[u8; 32]>(), digits in 1usize..=8) {
        let key = Digest::from_bytes(key);
        let prefix = KeyPrefix::of(&key, digits);
        let text = prefix.to_string();
        prop_assert!(key.to_string().starts_with(&text) && text.len() == digits);
        prop_assert_eq!(text.to_uppercase().parse(), Ok(prefix));
        prop_assert!(prefix.covers(&key) && prefix.covers(&prefix.first()) && prefix.bits() == 4 * digits);
    }
}

#[test]
fn other_prefixes_are_refused() {
    for bad in ["", "123456789", "g", "+1", "-1", " 1", "0x1", "٣"] {
        assert_eq!(bad.parse::<KeyPrefix>(), Err(PrefixError), "{bad}");
    }
}

#[test]
fn longest_prefix_that_hides_one_among_256_is_taken() {
    let digits = |images: u64| KeyPrefix::digits_for(images);
    assert_eq!([0, 1, 4096, 65_535, 65_536, 1_048_575, 1_048_576].map(digits), [1, 1, 1, 1, 2, 2, 3]);
    assert_eq!(digits(u64::MAX), 8);
}

#[test]
fn what_is_listed_stands_in_the_index_with_its_records() {
    let key = image(7).index_key();
    let (page, root) = page(&[1, 2, 3, 7, 8, 9], &key, 1);
    let leaves: Vec<_> = page.images.iter().map(PrefixImage::trie_leaf).collect();
    let listed = page.images.iter().find(|image| image.key == key).unwrap().trie_leaf();
    let below = trie::path_of(&leaves, page.siblings.len(), &key).siblings;
    let siblings: Vec<_> = page.siblings.iter().copied().chain(below).collect();
    verify_inclusion(&key, &listed.value_hash, &siblings, &root).unwrap();
}

/// The field that is refused, and what is wrong with it.
type Case<T> = (&'static str, fn(&mut T));

#[test]
fn malformed_pages_are_refused() {
    let key = image(7).index_key();
    let (good, _) = page(&[1, 2, 3, 7, 8, 9], &key, 1);
    let (low, high) = (filed(1), filed(2));
    let (low, high) = if low.key < high.key { (low, high) } else { (high, low) };
    let cases: [Case<PrefixPage>; 6] = [
        ("checkpoint", |page| page.checkpoint = "x".repeat(MAX_NOTE_LEN + 1)),
        ("leaf", |page| page.leaf.push('g')),
        ("inclusion", |page| page.inclusion = vec![page.from; MAX_PROOF_LEN + 1]),
        ("siblings", |page| page.siblings = vec![page.from; MAX_SIBLINGS + 1]),
        ("records", |page| page.images[0].records.clear()),
        ("records", |page| page.images[0].records = vec![page.images[0].records[0]; MAX_RECORDS + 1]),
    ];
    let refused = |page: &PrefixPage| match PrefixPage::parse(&serde_json::to_vec(page).unwrap()) {
        Err(PageError::Field(field)) => field,
        other => panic!("{other:?}"),
    };
    for (field, change) in cases {
        let mut page = good.clone();
        change(&mut page);
        assert_eq!(refused(&page), field);
    }
    for images in [vec![high, low.clone()], vec![low.clone(), low]] {
        assert_eq!(refused(&PrefixPage { images, ..good.clone() }), "images");
    }
    assert!(matches!(PrefixPage::parse(&vec![b' '; MAX_PAGE_LEN + 1]), Err(PageError::TooLong(_))));
    assert!(matches!(PrefixPage::parse(b"{}"), Err(PageError::Json(_))));
    let cases: [Case<PrefixImage>; 2] =
        [("extra", |image| image.extra = "AA".to_owned()), ("path", |image| image.path = "AAAA".to_owned())];
    for (field, change) in cases {
        let mut page = good.clone();
        page.images.iter_mut().for_each(change);
        let said = (1..=9).filter_map(|number| page.about(&image(number)).err()).map(|error| error.to_string());
        assert!(said.into_iter().any(|error| error.contains(field)), "{field}");
    }
}

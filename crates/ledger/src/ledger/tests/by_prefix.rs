//! Pages of images under a prefix, and what they prove.

use birthmark_core::network::Trust;
use birthmark_core::prefix::{KeyPrefix, PrefixPage, Said};
use birthmark_core::verify::{Candidate, Verdict, verify};

use super::*;

/// All pages of a prefix.
fn pages(fixture: &Fixture, reading: &Reading, prefix: KeyPrefix) -> Vec<PrefixPage> {
    let (note, mut from, mut all) = (fixture.note(reading.head()), None, Vec::new());
    loop {
        let page = reading.page(&prefix, from.as_ref(), &note).unwrap().expect("a page begins there");
        from = page.next;
        all.push(page);
        if from.is_none() {
            return all;
        }
    }
}

fn assert_every_image_is_answered(fixture: &Fixture, reading: &Reading, digits: usize) {
    let trust = Trust::Network(Box::new((*fixture.network).clone()));
    for seed in 0..=255 {
        let image = ImageHash::from_bytes([seed; 32]);
        let found = reading.find(&image).unwrap();
        let pages = pages(fixture, reading, KeyPrefix::of(&image.index_key(), digits));
        let said: Vec<_> = pages.iter().map(|page| page.about(&image).unwrap()).collect();
        let said: Vec<_> = said.into_iter().filter(|said| *said != Said::Elsewhere).collect();
        let [said] = said.try_into().expect("exactly one page speaks of an image");
        match said {
            Said::Record(proof) => {
                assert!(found.is_some());
                let candidates = [Kind::File, Kind::ImageData].map(|kind| Candidate { kind, hash: image });
                let verdict = verify(&candidates, &proof, &trust).unwrap();
                assert!(matches!(verdict, Verdict::Match(finding) if finding.entry.hash == image));
            }
            Said::Absent(proof) => {
                assert!(found.is_none());
                proof.verify(&trust, Minute(MINUTE).start()).unwrap();
            }
            Said::Elsewhere => panic!("those were left out"),
        }
    }
}

#[test]
fn every_image_is_proven_or_proven_absent_by_the_page_under_its_prefix() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    assert_every_image_is_answered(&fixture, &ledger.reading().unwrap(), 1);
    let recorded: Vec<u8> = (1..=60).collect();
    for (height, seeds) in (1..).zip(recorded.chunks(20)) {
        fixture.apply(&ledger, height, &[fixture.batch(1, &attested(seeds.iter().copied()))]);
        let reading = ledger.reading().unwrap();
        for digits in [1, 2, 8] {
            assert_every_image_is_answered(&fixture, &reading, digits);
        }
    }
}

#[test]
fn key_of_another_prefix_begins_no_page() {
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let reading = ledger.reading().unwrap();
    let prefix: KeyPrefix = "ab".parse().unwrap();
    let other: KeyPrefix = "ac".parse().unwrap();
    assert_eq!(reading.page(&prefix, Some(&other.first()), "").unwrap(), None);
    assert!(reading.page(&prefix, Some(&prefix.first()), "").unwrap().is_some());
}

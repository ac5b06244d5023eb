use std::fs;

use proptest::prelude::*;

use super::*;

fn counter() -> (tempfile::TempDir, Counter) {
    let folder = tempfile::tempdir().unwrap();
    let counter = Counter::frames(&folder.path().join("device_config.json"));
    (folder, counter)
}

#[test]
fn numbers_follow_each_other_from_1() {
    let (_folder, counter) = counter();
    assert_eq!(counter.reserve(1, 0).unwrap(), 1..2);
    assert_eq!(counter.reserve(10, 0).unwrap(), 2..12);
    assert_eq!(counter.reserve(1, 0).unwrap(), 12..13);
}

#[test]
fn floor_lifts_the_counter_and_never_lowers_it() {
    let (_folder, counter) = counter();
    assert_eq!(counter.reserve(1, 500).unwrap(), 500..501);
    assert_eq!(counter.reserve(1, 7).unwrap(), 501..502);
}

#[test]
fn many_at_once_never_get_the_same_number() {
    let (_folder, counter) = counter();
    let taken = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..10).flat_map(|_| counter.reserve(2, 0).unwrap()).collect::<Vec<_>>()))
            .collect();
        let mut taken: Vec<u64> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        taken.sort_unstable();
        taken
    });
    assert_eq!(taken, (1..=160).collect::<Vec<_>>());
}

#[test]
fn damaged_counters_are_refused_and_left_alone() {
    let (_folder, counter) = counter();
    for damaged in
        ["", "12", "\n", "-1\n", "+1\n", "1 \n", "01\n", "1\n2\n", "٣\n", "x\n", "99999999999999999999999\n", "1\0\n"]
    {
        fs::write(&counter.path, damaged).unwrap();
        assert!(matches!(counter.reserve(1, 0), Err(CounterError::Damaged { .. })), "{damaged:?}");
        assert_eq!(fs::read(&counter.path).unwrap(), damaged.as_bytes());
    }
    fs::write(&counter.path, [0xff, b'\n']).unwrap();
    assert!(matches!(counter.reserve(1, 0), Err(CounterError::Damaged { .. })));
    fs::write(&counter.path, format!("{}\n", i64::MAX)).unwrap();
    assert!(matches!(counter.reserve(1, 0), Err(CounterError::Exhausted { .. })));
}

#[test]
fn each_counter_counts_on_its_own_and_names_its_own_remedy() {
    let (folder, frames) = counter();
    let tokens = Counter::tokens(&folder.path().join("device_config.json"));
    assert_eq!(frames.reserve(5, 0).unwrap(), 1..6);
    assert_eq!(tokens.reserve(64, 0).unwrap(), 1..65);
    assert_eq!(fs::read_to_string(folder.path().join("token_counter")).unwrap(), "65\n");
    fs::write(folder.path().join("token_counter"), "65").unwrap();
    let error = tokens.reserve(1, 0).unwrap_err().to_string();
    assert!(error.contains("token_counter: not a token number") && error.contains("date +%s"), "{error}");
    fs::write(&frames.path, "").unwrap();
    let error = frames.reserve(1, 0).unwrap_err().to_string();
    assert!(error.contains("frame_counter: not a frame number") && error.contains("photos are named"), "{error}");
    // What the remedy says works.
    fs::write(folder.path().join("token_counter"), "1733259600\n").unwrap();
    assert_eq!(tokens.reserve(1, 0).unwrap(), 1_733_259_600..1_733_259_601);
}

#[test]
fn folder_in_its_place_and_missing_folder_are_named() {
    let (_folder, counter) = counter();
    fs::create_dir(&counter.path).unwrap();
    let error = counter.reserve(1, 0).unwrap_err().to_string();
    assert!(error.contains("frame_counter"), "{error}");
    let nowhere = Counter::frames(Path::new("/nonexistent/device_config.json"));
    assert!(nowhere.reserve(1, 0).unwrap_err().to_string().contains("/nonexistent/"));
}

proptest! {
    #[test]
    fn what_is_written_is_read(number: u64) {
        prop_assert_eq!(parse(&format!("{number}\n")), Some(number));
    }
}

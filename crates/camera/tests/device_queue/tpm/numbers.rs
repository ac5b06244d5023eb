//! A token number is given once, whatever happens to program, files and TPM.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use birthmark_camera::device::tpm::Tpm;
use birthmark_camera::device::{SecureElement as _, Stored};

use super::camera::{Camera, open_numbers};
use super::swtpm::Swtpm;

#[test]
fn numbers_rise_through_power_cuts_of_the_tpm() {
    let Some(mut tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let mut last = 0;
    for _ in 0..3 {
        let numbers = camera.numbers(&tpm);
        for _ in 0..130 {
            let number = numbers.take().unwrap();
            assert!(number > last, "{number} after {last}");
            last = number;
        }
        tpm.power_cycle();
    }
}

#[test]
fn files_put_back_to_an_earlier_state_do_not_put_numbers_back() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let early = std::fs::read(camera.path()).unwrap();
    let numbers = camera.numbers(&tpm);
    let used: Vec<u64> = (0..200).map(|_| numbers.take().unwrap()).collect();
    numbers.skip().unwrap();
    let after_skip = numbers.take().unwrap();
    assert!(after_skip > used.last().unwrap() + 65_536);
    // An old copy of the card.
    for entry in std::fs::read_dir(camera.0.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    birthmark_service::secret_file::create(&camera.path(), &early).unwrap();
    assert!(camera.numbers(&tpm).take().unwrap() > after_skip);
}

#[test]
fn counter_that_is_gone_is_made_anew_above_all_numbers_used() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let used = camera.numbers(&tpm).take().unwrap();
    let element = Tpm::at(&tpm.tcti()).unwrap();
    let stored = Stored::read(&camera.path()).unwrap();
    let restore = || element.restore_numbers(&camera.path(), &stored, 1_000_000).unwrap();
    assert!(!restore(), "it is there");
    for gone in [["0x180b100", "0x180b101"].as_slice(), &["0x180b101"], &["0x180b100"]] {
        for index in gone {
            tpm.tool("tpm2_nvundefine", &["-C", "o", index]);
        }
        assert!(restore());
    }
    // The power was cut while it was made anew.
    tpm.tool("tpm2_nvundefine", &["-C", "o", "0x180b101"]);
    tpm.tool("tpm2_nvdefine", &["-C", "o", "-s", "8", "0x180b101"]);
    assert!(restore());
    let next = camera.numbers(&tpm).take().unwrap();
    assert!(next > 1_000_000 && next > used, "{next}");
}

#[test]
fn cameras_that_share_a_tpm_count_apart() {
    let Some(tpm) = Swtpm::start() else { return };
    // What is there already belongs to somebody else.
    tpm.tool("tpm2_nvdefine", &["-C", "o", "-s", "8", "0x180b101"]);
    let (one, other) = (Camera::provision(&tpm), Camera::provision(&tpm));
    let index = |camera: &Camera| match Stored::read(&camera.path()).unwrap() {
        Stored::Sealed(config) => config.sealed.counter.unwrap(),
        Stored::Clear(_) => panic!("it is sealed"),
    };
    assert_eq!((index(&one).as_str(), index(&other).as_str()), ("0180b102", "0180b104"));
    let before = other.numbers(&tpm).take().unwrap();
    for _ in 0..3 {
        one.numbers(&tpm).take().unwrap();
    }
    assert_eq!(other.numbers(&tpm).take().unwrap(), before + 64);
}

/// Prints the numbers it takes until it is killed. A test only because it is this binary that is run again.
#[test]
fn taker() {
    let (Ok(config), Ok(tcti)) = (std::env::var(CONFIG), std::env::var(TCTI)) else { return };
    let numbers = open_numbers(Path::new(&config), &tcti);
    loop {
        println!("\ntook {}", numbers.take().unwrap());
    }
}

#[test]
fn killed_at_any_moment_no_number_is_given_twice() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let mut taken = BTreeSet::new();
    let mut highest = 0;
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tpm::numbers::taker", "--nocapture"])
            .env(CONFIG, camera.path())
            .env(TCTI, tpm.tcti())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Around the steps of the counter: blocks have 64 numbers. What it printed before it died counts.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("took ")?.parse::<u64>().ok());
        let first = numbers.next().unwrap();
        assert!(first > highest, "round {round}: {first} after {highest}");
        assert!(taken.insert(first));
        for number in numbers.by_ref().take(60 + round % 9) {
            assert!(taken.insert(number), "round {round}: {number} twice");
        }
        child.kill().unwrap();
        for number in numbers {
            assert!(taken.insert(number), "round {round}: {number} twice");
        }
        child.wait().unwrap();
        highest = *taken.last().unwrap();
    }
    assert!(taken.len() > 25 * 60);
}

const CONFIG: &str = "BIRTHMARK_TEST_TAKER_CONFIG";
const TCTI: &str = "BIRTHMARK_TEST_TAKER_TCTI";

//! Every call by which the store changes a file fails once: with nothing done, and done nevertheless. Whatever the process
//! made of it, the ledger opens again, has every block that was said to be durable, is sound, and goes on to the same end.
//!
//! The calls fail in a library between the process and the C library (`faults/shim.c`), so the store is the real one.
//! `BIRTHMARK_FAULTS=all` takes every call, else sixteen are taken, each in both ways.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::crash::{apply_at, assert_whole};
use super::*;
use crate::fsck;
use crate::store::Section;

const FOLDER: &str = "BIRTHMARK_TEST_FAULTS";
const NAME: &str = "ledger::tests::faults::whichever_call_fails_nothing_is_lost_that_was_durable";
/// Blocks that the process applies, two each time that it opens the ledger.
const BLOCKS: u64 = 6;

#[test]
fn whichever_call_fails_nothing_is_lost_that_was_durable() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return apply_all(Path::new(&folder));
    }
    let tools = tempfile::tempdir().unwrap();
    let Some(shim) = compiled(tools.path()) else {
        println!("skipped: there is no C compiler `cc` to build the failing calls with");
        return;
    };
    let straight = Fixture::new();
    let end = finish(&straight);
    let run = |at: u64, keep: bool| {
        let fixture = Fixture::new();
        drop(fixture.open());
        let count = tools.path().join("count");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([NAME, "--exact", "--nocapture"]).env(FOLDER, fixture.folder.path()).env("LD_PRELOAD", &shim);
        command.env("FAULT_UNDER", fixture.folder.path()).env("FAULT_AT", at.to_string()).env("FAULT_COUNT", &count);
        if keep {
            command.env("FAULT_KEEP", "1");
        }
        let output = command.stderr(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said =
            text.lines().filter_map(|line| line.split("applied ").nth(1)?.parse::<u64>().ok()).max().unwrap_or(0);
        let ledger = fixture.open();
        assert_whole(&ledger);
        assert!(ledger.head().height.0 >= said, "call {at}: block {said} was said to be durable");
        drop(ledger);
        assert_eq!(finish(&fixture), end, "call {at}");
        fsck::check(fixture.folder.path(), &fixture.network, &[], &mut |_| ()).unwrap().unwrap();
        (said, std::fs::read_to_string(count).unwrap().parse::<u64>().unwrap())
    };
    let (said, calls) = run(0, false);
    assert_eq!(said, BLOCKS, "nothing fails, all is applied");
    assert!(calls > 50, "{calls} calls");
    let step = if std::env::var_os("BIRTHMARK_FAULTS").is_some_and(|v| v == "all") { 1 } else { calls.div_ceil(16) };
    let mut stopped = 0;
    for at in (1..=calls).step_by(usize::try_from(step).unwrap()) {
        for keep in [false, true] {
            stopped += u32::from(run(at, keep).0 < BLOCKS);
        }
    }
    println!("{calls} calls, every {step}. failed in two ways; {stopped} times it stopped the process");
    assert!(stopped > 0, "no failure was noticed");
}

/// The process in which calls fail. Ends where the ledger says that it cannot go on.
fn apply_all(folder: &Path) {
    let fixture = Fixture::new();
    loop {
        let ledger = Ledger::open(folder, Arc::clone(&fixture.network)).unwrap();
        for _ in 0..2 {
            let height = ledger.head().height.0 + 1;
            if height > BLOCKS {
                return;
            }
            apply_at(&fixture, &ledger, height);
            println!("applied {height}");
        }
        // Into tables, by the store's own thread, which ends with the ledger.
        for section in [Section::Leaves, Section::Tiles, Section::Index, Section::Bodies, Section::Meta] {
            ledger.store.begin_flush(section);
        }
    }
}

/// Applies what is left of the blocks.
fn finish(fixture: &Fixture) -> Head {
    let ledger = fixture.open();
    for height in ledger.head().height.0 + 1..=BLOCKS {
        apply_at(fixture, &ledger, height);
    }
    ledger.head()
}

/// The library with the failing calls.
fn compiled(folder: &Path) -> Option<PathBuf> {
    let (source, shim) = (folder.join("shim.c"), folder.join("shim.so"));
    std::fs::write(&source, include_str!("faults/shim.c")).unwrap();
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).arg("-ldl").status().ok()?;
    assert!(status.success(), "the shim does not compile");
    Some(shim)
}

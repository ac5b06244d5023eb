//! A ledger whose process dies, and a journal that ends anywhere: what is opened afterwards is some block
//! that was committed, whole, with the index root that its leaf has; and it goes on to the same end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::index::{all_leaves, last_block};
use super::*;

/// The batches of one block, the same whenever it is asked for.
fn payload_of(fixture: &Fixture, height: u64) -> Vec<u8> {
    let raw = |at: u8| {
        let hash = ImageHash::of(&[&height.to_be_bytes()[..], &[at]].concat());
        (
            Assurance::Attested,
            body("MFG", vec![Entry { level: Level::Raw, kind: Kind::File, hash, parent: Parent::None }]),
        )
    };
    encode_payload(&[fixture.batch(1, &(0..20).map(raw).collect::<Vec<_>>())])
}

pub(super) fn apply_at(fixture: &Fixture, ledger: &Ledger, height: u64) {
    let (header, payload) = (fixture.header(MINUTE), payload_of(fixture, height));
    let digest = |height: u64| *Digest::of_parts(&[&height.to_be_bytes()]).as_bytes();
    let block = Block {
        height: Height(height),
        digest: digest(height),
        parent: digest(height - 1),
        header: &header,
        payload: &payload,
    };
    ledger.apply_final(&[block]).unwrap();
}

/// Opening compares the index with the last block's leaf; this looks at the rest as well.
pub(super) fn assert_whole(ledger: &Ledger) {
    let (head, leaves) = (ledger.head(), all_leaves(ledger));
    assert_eq!(leaves.len() as u64, 1 + 21 * head.height.0);
    assert_eq!(root_of(&leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>()), head.root);
    assert_eq!(last_block(ledger).height, head.height);
    assert_eq!(ledger.reading().unwrap().image_count(), 20 * head.height.0);
}

#[test]
fn wherever_the_journal_ends_the_ledger_is_that_of_a_whole_block() {
    const BLOCKS: u64 = 6;
    let fixture = Fixture::new();
    let ledger = fixture.open();
    let mut heads = vec![ledger.head()];
    for height in 1..=BLOCKS {
        apply_at(&fixture, &ledger, height);
        heads.push(ledger.head());
    }
    drop(ledger);
    let (journal, written) = journal(fixture.folder.path());
    // Genesis is made durable before a ledger is used, so nothing that dies later can cut into it.
    let fresh = Fixture::new();
    drop(fresh.open());
    let (_, genesis) = self::journal(fresh.folder.path());
    assert_eq!(written.get(..genesis.len()), Some(genesis.as_slice()), "the journals begin alike");
    let span = written.len() - genesis.len();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..24).map(|at| genesis.len() + at * span / 23) {
        let torn = Fixture { folder: tempfile::tempdir().unwrap(), network: Arc::clone(&fixture.network) };
        copy(fixture.folder.path(), torn.folder.path());
        let path = torn.folder.path().join(journal.strip_prefix(fixture.folder.path()).unwrap());
        fs::write(path, &written[..cut]).unwrap();
        let ledger = torn.open();
        assert_whole(&ledger);
        let head = ledger.head();
        assert_eq!(heads.get(usize::try_from(head.height.0).unwrap()), Some(&head), "cut at {cut}");
        seen.insert(head.height.0);
        for height in head.height.0 + 1..=BLOCKS {
            apply_at(&torn, &ledger, height);
        }
        assert_eq!(ledger.head(), heads[6]);
    }
    assert_eq!(seen.len() as u64, BLOCKS + 1, "the cuts fell on each block: {seen:?}");
}

/// The newest journal and what was written of it: it is filled up with zeros.
fn journal(folder: &Path) -> (PathBuf, Vec<u8>) {
    let mut found: Vec<_> =
        files(folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "jnl")).collect();
    found.sort();
    let path = found.pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(end);
    (path, bytes)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let below = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path) } else { vec![path] }
    };
    fs::read_dir(folder).unwrap().flat_map(below).collect()
}

/// All but journals, which are large and mostly empty.
fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            fs::copy(path, target).unwrap();
        }
    }
}

const FOLDER: &str = "BIRTHMARK_TEST_LEDGER";
const NAME: &str = "ledger::tests::crash::a_ledger_that_is_killed_at_any_moment_loses_nothing_it_had_applied";

#[test]
fn a_ledger_that_is_killed_at_any_moment_loses_nothing_it_had_applied() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        apply_for_ever(Path::new(&folder));
    }
    let fixture = Fixture::new();
    let mut reached = 0;
    for round in 1..=6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(FOLDER, fixture.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let applied = lines.filter_map(|line| line.unwrap().strip_prefix("applied ")?.parse::<u64>().ok());
        let said = applied.take(usize::try_from(3 * round).unwrap()).last().unwrap();
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        let ledger = fixture.open();
        assert_whole(&ledger);
        assert!(ledger.head().height.0 >= said, "block {said} was said to be durable");
        assert!(said > reached);
        reached = ledger.head().height.0;
    }
    let straight = Fixture::new();
    let ledger = straight.open();
    for height in 1..=reached {
        apply_at(&straight, &ledger, height);
    }
    assert_eq!(ledger.head(), fixture.open().head(), "as if it had never been killed");
}

/// The process that is killed.
fn apply_for_ever(folder: &Path) -> ! {
    let fixture = Fixture::new();
    let ledger = Ledger::open(folder, Arc::clone(&fixture.network)).unwrap();
    for height in ledger.head().height.0 + 1.. {
        apply_at(&fixture, &ledger, height);
        println!("applied {height}");
    }
    panic!("no more heights");
}

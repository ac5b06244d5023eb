//! Whole networks in simulated time: what they must never do, whatever happens, and that they always go on.
//!
//! Every run follows from its seed alone. The network, the disks, the clocks and the order in which tasks run are
//! simulated; the engine's wiring, its storage formats, its time-outs and its cryptography are the real ones.
//!
//! In each run: no two blocks at a height, all honest validators apply the same sequence, every transaction that a
//! client hands in is applied exactly once by each, no honest validator cuts off another one, and once the network
//! has healed everything handed in is recorded, with as many down or hostile as the protocol bears. What a quorum of an
//! epoch's validators has signed is published: one root at a height, by those to whom the height belongs.
//!
//! `BIRTHMARK_SIM_SEEDS=2000` runs that many seeds instead of a hundred; `BIRTHMARK_SIM_SEED=17` runs one.

mod acts;
mod block;
mod byzantine;
mod change;
mod clients;
mod cosigning;
mod disk;
mod ledger;
mod membership;
mod plan;
mod traps;
mod truth;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use self::{
    plan::{Plan, Trouble},
    truth::Seen,
    world::play,
};

/// Runs `share` percent of the seeds; and what was met with, all together, if these were more than a few.
fn survives(trouble: Trouble, validators: usize, share: u64) -> Option<Seen> {
    let seeds = match (number("BIRTHMARK_SIM_SEED"), number("BIRTHMARK_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, total) => 0..(total.unwrap_or(100) * share).div_ceil(100),
    };
    let (mut blocks, mut seen, mut took, mut pauses) = (0, Seen::default(), Duration::ZERO, Vec::new());
    for seed in seeds.clone() {
        let plan = Plan::new(trouble, validators, seed);
        match catch_unwind(AssertUnwindSafe(|| play(plan.clone()))) {
            Ok(outcome) => {
                blocks += outcome.height;
                seen += outcome.seen;
                took += outcome.took;
                pauses.extend(outcome.pauses);
            }
            Err(panic) => {
                let test = std::thread::current().name().unwrap_or_default().to_owned();
                println!(
                    "seed {seed} failed with {trouble:?}; repeat with\n  BIRTHMARK_SIM_SEED={seed} cargo test -p birthmark-engine -- --exact {test}\n{plan:#?}"
                );
                resume_unwind(panic);
            }
        }
    }
    println!(
        "{trouble:?}, {validators} validators, seeds {seeds:?}: {blocks} blocks in {took:?} of simulated time, {seen:?}"
    );
    pauses.sort();
    if let Some(longest) = pauses.last() {
        let (half, tenth) = (pauses[pauses.len() / 2], pauses[pauses.len() * 9 / 10]);
        println!(
            "{} changes; pause between the last and the first block: p50 {half:?}, p90 {tenth:?}, longest {longest:?}",
            pauses.len()
        );
    }
    (seeds.count() >= ENOUGH).then_some(seen)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number")))
}

#[test]
fn four_validators_agree_under_loss_and_delay() {
    let seen = survives(Trouble::Loss, 4, 10);
    assert!(seen.is_none_or(|seen| seen.heard > 0 && seen.refused == 0), "{seen:?}");
}

#[test]
fn four_validators_agree_after_partitions_have_healed() {
    let seen = survives(Trouble::Partition, 4, 10);
    assert!(seen.is_none_or(|seen| seen.refused == 0), "{seen:?}");
}

#[test]
fn four_validators_agree_although_up_to_all_crash_and_come_back() {
    let seen = survives(Trouble::Crash, 4, 12);
    assert!(seen.is_none_or(|seen| seen.restarts > 0 && seen.replayed > 0 && seen.refused == 0), "{seen:?}");
}

#[test]
fn three_of_four_validators_go_on_without_the_fourth() {
    let _seen = survives(Trouble::Down, 4, 8);
}

#[test]
fn five_of_seven_validators_go_on_without_the_others() {
    let _seen = survives(Trouble::Down, 7, 4);
}

#[test]
fn four_validators_agree_with_a_slow_one_among_them() {
    let seen = survives(Trouble::Slow, 4, 8);
    assert!(seen.is_none_or(|seen| seen.refused == 0), "{seen:?}");
}

#[test]
fn four_validators_agree_with_one_that_votes_twice() {
    let seen = survives(Trouble::Equivocation, 4, 10);
    assert!(seen.is_none_or(|seen| seen.cut_off > 0), "nobody has seen both votes: {seen:?}");
}

#[test]
fn four_validators_agree_with_one_that_sends_garbage() {
    let seen = survives(Trouble::Garbage, 4, 10);
    assert!(seen.is_none_or(|seen| seen.cut_off > 0), "nobody has minded: {seen:?}");
}

#[test]
fn four_validators_agree_with_one_that_proposes_invalid_blocks() {
    let seen = survives(Trouble::Lies, 4, 10);
    assert!(seen.is_none_or(|seen| seen.refused > 0 && seen.early > 0), "{seen:?}");
}

#[test]
fn seven_validators_agree_under_everything_at_once() {
    let _seen = survives(Trouble::Everything, 7, 8);
}

#[test]
fn four_validators_agree_under_everything_at_once() {
    let _seen = survives(Trouble::Everything, 4, 12);
}

#[test]
fn four_validators_become_five_or_three_whatever_happens_at_the_boundary() {
    let seen = survives(Trouble::Change, 5, 40);
    assert!(seen.is_none_or(|seen| seen.exchanged > 0 && seen.sprung > 0 && seen.refused == 0), "{seen:?}");
}

#[test]
fn six_validators_become_seven_or_five_whatever_happens_at_the_boundary() {
    let seen = survives(Trouble::Change, 7, 10);
    assert!(seen.is_none_or(|seen| seen.exchanged > 0 && seen.refused == 0), "{seen:?}");
}

#[test]
fn an_idle_network_writes_next_to_nothing_and_still_records_at_once() {
    let hour = Duration::from_hours(1);
    for validators in [4, 7] {
        let outcome = play(Plan::idle(validators, 1, hour));
        assert_eq!(outcome.in_time, 1, "a transaction after an hour of nothing took more than half a second");
        assert!(outcome.height <= 15, "{} blocks", outcome.height);
        let each = outcome.written / validators as u64;
        println!("{validators} validators: {} blocks, {each} bytes written by each in an hour", outcome.height);
        assert!(each < 1 << 20, "{each} bytes written by each");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let once = || play(Plan::new(Trouble::Everything, 4, 1));
    assert_eq!(once(), once());
    assert_ne!(once().trace, play(Plan::new(Trouble::Everything, 4, 2)).trace);
}

/// Seeds from which on every kind of trouble has taken place.
const ENOUGH: usize = 8;

//! Plans in which validators are added and removed, and trouble comes exactly then.

use std::time::Duration;

use commonware_utils::probability;
use rand::{
    RngExt as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, IteratorRandom as _},
};

use super::{
    acts::act,
    plan::{Event, Phase, Plan, Trouble, millis},
    traps::{Moment, Trap},
};

/// What else goes wrong.
pub(super) fn trouble(rng: &mut StdRng) -> Trouble {
    *[Trouble::Slow, Trouble::Loss, Trouble::Partition, Trouble::Crash, Trouble::Everything].choose(rng).unwrap()
}

impl Plan {
    /// The last validator is the one to be added.
    pub(super) fn with_change(self, rng: &mut StdRng) -> Self {
        let newcomer = self.validators - 1;
        let first: Vec<_> = (0..newcomer).collect();
        let all: Vec<_> = (0..=newcomer).collect();
        let removed = rng.random_range(0..newcomer);
        let without = |who: usize, set: &[usize]| set.iter().copied().filter(|v| *v != who).collect::<Vec<_>>();
        let (sets, down) = match rng.random_range(0..6) {
            0 => (vec![first, all], Vec::new()),
            1 => (vec![first.clone(), without(removed, &first)], Vec::new()),
            2 => (vec![first.clone(), without(removed, &first), without(removed, &all)], Vec::new()),
            3 => (vec![first.clone(), all, first], Vec::new()),
            // A dead one is replaced.
            4 => (vec![first, all.clone(), without(removed, &all)], vec![removed]),
            _ => (vec![first, all.clone(), without(removed, &all)], Vec::new()),
        };
        let acts = sets.len() as u64 - 1;
        let traps = (0..rng.random_range(0..6)).map(|_| trap(self.validators, acts, rng)).collect();
        let mut transactions: Vec<_> =
            self.transactions.iter().map(|(_, transaction)| (millis(rng, 0..BUSY), *transaction)).collect();
        transactions.extend((0..acts).map(|epoch| (millis(rng, 200..3_000), act(epoch))));
        transactions.sort();
        let longer = |phase: Phase| Phase { length: phase.length.max(LONG), ..phase };
        let mut phases: Vec<_> = self.phases.iter().cloned().map(longer).collect();
        let power = |trap: &Trap| trap.then.iter().any(|(_, event)| matches!(event, Event::Power));
        // With one down every vote counts, and each that is lost costs a turn.
        let delivered = if down.is_empty() { self.delivered.max(probability!(9, 10)) } else { probability!(98, 100) };
        let far = self.far.filter(|_| down.is_empty());
        let calm = Phase { events: Vec::new(), length: LONG };
        let traps: Vec<Trap> = traps;
        phases.extend(traps.iter().filter(|trap| power(trap)).map(|_| calm.clone()));
        Self {
            sets,
            down,
            traps,
            far,
            delivered,
            transactions,
            phases,
            exchange: millis(rng, 1..100),
            join_after: millis(rng, 0..2_000),
            ..self
        }
    }

    /// The first epoch in which a validator decides.
    pub(super) fn first_epoch(&self, number: usize) -> Option<u64> {
        let at = self.sets.iter().position(|set| set.contains(&number));
        at.map(|at| u64::try_from(at).unwrap())
    }

    /// Who decides in `epoch`.
    pub(super) fn set(&self, epoch: u64) -> Option<&Vec<usize>> {
        self.sets.get(usize::try_from(epoch).unwrap())
    }

    /// The epoch that everybody must come to.
    pub(super) fn last_epoch(&self) -> u64 {
        self.sets.len() as u64 - 1
    }
}

fn trap(validators: usize, acts: u64, rng: &mut StdRng) -> Trap {
    let who = rng.random_range(0..validators);
    let mut then = Vec::new();
    let mut crash = |number, rng: &mut StdRng| {
        then.push((Duration::ZERO, Event::Crash(number)));
        if rng.random_range(0..4) > 0 {
            let lost = if rng.random_range(0..4) == 0 { rng.random_range(1..60) } else { 0 };
            then.push((millis(rng, 50..5_000), Event::Restart(number, lost)));
        }
    };
    match rng.random_range(0..7) {
        0..3 => crash(who, rng),
        3 => crash(rng.random_range(0..validators), rng),
        4 => (0..validators).for_each(|number| crash(number, rng)),
        5 => {
            let count = rng.random_range(1..validators);
            then.push((Duration::ZERO, Event::Part((0..validators).sample(rng, count))));
            then.push((millis(rng, 300..6_000), Event::Heal));
        }
        _ => then.push((Duration::ZERO, Event::Power)),
    }
    Trap { who, epoch: rng.random_range(0..acts), moment: *Moment::ALL.choose(rng).unwrap(), then }
}

/// Milliseconds over which transactions come.
const BUSY: u64 = 15_000;
/// Time for all changes.
const LONG: Duration = Duration::from_secs(25);

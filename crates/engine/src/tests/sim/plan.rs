//! What happens in a run: everything follows from the kind of trouble and the seed.

use std::time::Duration;

use commonware_utils::Probability;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{change, traps::Trap, truth::Transaction};

/// The kinds of trouble that are looked at apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Messages are lost, late and out of step.
    Loss,
    /// The network falls apart and heals, several times.
    Partition,
    /// Up to all validators crash and come back, one after the other, together, or with the power.
    Crash,
    /// As many as the protocol bears are down all the time.
    Down,
    /// One is far away, or slow to apply.
    Slow,
    /// One votes and proposes as two.
    Equivocation,
    /// One sends bytes that mean nothing, and others' messages changed.
    Garbage,
    /// One proposes blocks that break the rules, or lie in the future.
    Lies,
    /// All of it.
    Everything,
    /// Validators are added and removed, while messages are lost, the network falls apart, or validators crash.
    Change,
}

/// How one validator misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Byzantine {
    Twin,
    Garbage,
    Liar,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// These cannot talk to the rest any more.
    Part(Vec<usize>),
    /// All can talk to all again.
    Heal,
    /// Loses everything but its storage.
    Crash(usize),
    /// Comes back; with a ledger that lacks this many blocks.
    Restart(usize, usize),
    /// The power fails, if another phase follows.
    Power,
    /// Starts the engine of the next epoch.
    Exchange(usize),
    /// Is given the newest network file, and starts.
    Join(usize),
}

impl Event {
    /// Whether a validator does nothing more after it.
    pub(super) fn ends(&self, who: usize) -> bool {
        matches!(self, Self::Power) || matches!(self, Self::Crash(number) if *number == who)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) validators: usize,
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) delivered: Probability,
    pub(super) byzantine: Option<(usize, Byzantine)>,
    /// Whether a peer that was caught is cut off.
    pub(super) cut_off: bool,
    /// A validator, and by how much its messages are later.
    pub(super) far: Option<(usize, Duration)>,
    pub(super) apply_delays: Vec<Duration>,
    /// Milliseconds by which clocks are ahead.
    pub(super) skews: Vec<i64>,
    /// Between two phases the power fails: all crash at once, and writes that were not synced may be torn.
    pub(super) phases: Vec<Phase>,
    pub(super) torn: Probability,
    /// Crashed, and never back.
    pub(super) down: Vec<usize>,
    pub(super) transactions: Vec<(Duration, Transaction)>,
    /// Who decides in each epoch. All but the first begin by an act.
    pub(super) sets: Vec<Vec<usize>>,
    pub(super) traps: Vec<Trap>,
    /// How long it takes to end an engine and to start the next.
    pub(super) exchange: Duration,
    /// How much later than it could a new validator starts.
    pub(super) join_after: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// At which time after the phase's begin.
    pub(super) events: Vec<(Duration, Event)>,
    pub(super) length: Duration,
}

impl Plan {
    pub(super) fn new(trouble: Trouble, validators: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ (trouble as u64) << 56 ^ (validators as u64) << 48);
        let rng = &mut rng;
        let kind = if trouble == Trouble::Change { change::trouble(rng) } else { trouble };
        let everything = kind == Trouble::Everything;
        let faulty = (validators - 1) / 3;
        let mut order: Vec<_> = (0..validators).collect();
        order.shuffle(rng);

        let byzantine = match trouble {
            Trouble::Equivocation => Some(Byzantine::Twin),
            Trouble::Garbage => Some(Byzantine::Garbage),
            Trouble::Lies => Some(Byzantine::Liar),
            Trouble::Everything => {
                [None, Some(Byzantine::Twin), Some(Byzantine::Garbage), Some(Byzantine::Liar)][rng.random_range(0..4)]
            }
            _ => None,
        };
        let byzantine = byzantine.map(|how| (order[0], how));
        let mut left = faulty - usize::from(byzantine.is_some());
        let down: Vec<_> = match trouble {
            Trouble::Down => order[..faulty].to_vec(),
            Trouble::Everything if rng.random() => order[1..=left].to_vec(),
            _ => Vec::new(),
        };
        left -= down.len().min(left);
        let slow = trouble == Trouble::Slow || everything && left > 0 && rng.random();
        let slow = slow.then_some(order[validators - 1]);

        let lossy = matches!(kind, Trouble::Loss | Trouble::Everything);
        let delivered = if lossy { rng.random_range(80..100) } else { 100 };
        let mut apply_delays: Vec<_> = (0..validators).map(|_| millis(rng, 0..15)).collect();
        if let Some(slow) = slow {
            apply_delays[slow] = millis(rng, 0..900);
        }
        let crashes = matches!(kind, Trouble::Crash | Trouble::Everything);
        let phases = if crashes { rng.random_range(1..=3) } else { 1 };
        let honest: Vec<_> = order.iter().copied().filter(|v| byzantine.is_none_or(|(b, _)| b != *v)).collect();
        let phases = (0..phases).map(|_| Phase::new(kind, &honest, rng)).collect::<Vec<_>>();
        let length = u64::try_from(phases[0].length.as_millis()).unwrap();
        let mut transactions: Vec<_> = (1..=rng.random_range(20..60)).map(|t| (millis(rng, 0..length), t)).collect();
        transactions.sort();
        let plan = Self {
            seed,
            validators,
            latency: millis(rng, 2..if lossy { 80 } else { 25 }),
            jitter: millis(rng, 0..if lossy { 40 } else { 8 }),
            delivered: Probability::new(delivered, 100).unwrap(),
            byzantine,
            cut_off: rng.random(),
            far: slow.map(|slow| (slow, millis(rng, 0..800))),
            apply_delays,
            skews: (0..validators).map(|_| rng.random_range(-1_500..1_500)).collect(),
            phases,
            torn: Probability::new(rng.random_range(0..=100), 100).unwrap(),
            down,
            transactions,
            sets: vec![(0..validators).collect()],
            traps: Vec::new(),
            exchange: Duration::ZERO,
            join_after: Duration::ZERO,
        };
        if trouble == Trouble::Change { plan.with_change(rng) } else { plan }
    }

    /// Nothing but a quiet network, and one transaction at the end of `length`.
    pub(super) fn idle(validators: usize, seed: u64, length: Duration) -> Self {
        let phase = Phase { events: Vec::new(), length: length + IN_TIME };
        Self { phases: vec![phase], transactions: vec![(length, 1)], ..Self::new(Trouble::Garbage, validators, seed) }
            .without_trouble()
    }

    fn without_trouble(self) -> Self {
        Self { byzantine: None, far: None, ..self }
    }

    /// How long all phases take.
    pub(super) fn length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// The validators that keep to the protocol.
    pub(super) fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.validators).filter(|v| self.byzantine.is_none_or(|(byzantine, _)| byzantine != *v))
    }
}

impl Phase {
    fn new(trouble: Trouble, honest: &[usize], rng: &mut StdRng) -> Self {
        let mut events = Vec::new();
        let parts = matches!(trouble, Trouble::Partition | Trouble::Everything);
        let crashes = matches!(trouble, Trouble::Crash | Trouble::Everything);
        let mut end = 3_000;
        if parts {
            let mut at = rng.random_range(200..1_500);
            for _ in 0..rng.random_range(1..=3) {
                let group = honest.iter().copied().filter(|_| rng.random()).collect();
                events.push((Duration::from_millis(at), Event::Part(group)));
                at += rng.random_range(300..4_000);
                if rng.random() {
                    events.push((Duration::from_millis(at), Event::Heal));
                    at += rng.random_range(0..1_500);
                }
            }
            end = end.max(at);
        }
        if crashes {
            for validator in honest {
                let mut at = rng.random_range(100..3_000);
                if rng.random_range(0..6) == 0 {
                    // Away until the end, so that others have forgotten the votes that it missed.
                    events.push((Duration::from_millis(at), Event::Crash(*validator)));
                    end = end.max(12_000);
                    continue;
                }
                while rng.random_range(0..3) > 0 && at < 6_000 {
                    events.push((Duration::from_millis(at), Event::Crash(*validator)));
                    at += rng.random_range(50..2_500);
                    let lost = if rng.random_range(0..4) == 0 { rng.random_range(1..20) } else { 0 };
                    events.push((Duration::from_millis(at), Event::Restart(*validator, lost)));
                    at += rng.random_range(200..3_000);
                }
                end = end.max(at);
            }
        }
        events.sort_by_key(|(at, _)| *at);
        Self { events, length: Duration::from_millis(end) }
    }
}

/// Within this a transaction is recorded everywhere.
const IN_TIME: Duration = Duration::from_millis(500);

pub(super) fn millis(rng: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

//! Plays a [`Plan`]: validators with the engine's own wiring on a simulated network, disk and clock.

use std::{collections::BTreeMap, marker::PhantomData, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::{self, Control, Link, Network, Oracle, SplitForwarder, SplitSender};
use commonware_runtime::{
    Clock as _, Handle, Metrics as _, Spawner as _, Supervisor as _,
    deterministic::{Config, Context, FaultConfig, PartialWriteMode, Runner, WriteConfig},
};
use commonware_utils::{NZUsize, probability};
use futures::future::{Either, select, select_all};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    byzantine::{self, Reach, Senders},
    ledger::{Character, Disk, Owner, SimLedger},
    plan::{Byzantine, Event, Phase, Plan},
    truth::{Seen, Truth},
};
use crate::{
    Chain, EngineConfig, Gossip, Network as Peers, Timing, Validator,
    config::{Setup, key_from},
    network::largest_message,
    parts::{CHANNELS, Fabric, Links, Mode, assemble},
    public_key_of,
};

/// What came out of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Covers every step of the run.
    pub(super) trace: String,
    pub(super) height: u64,
    pub(super) seen: Seen,
    /// Simulated time.
    pub(super) took: Duration,
    /// What all disks were given to write until the last phase's end, in bytes.
    pub(super) written: u64,
    /// Transactions that were recorded everywhere by then.
    pub(super) in_time: usize,
}

/// What outlives a power failure.
struct World {
    plan: Plan,
    truth: Arc<Truth>,
    disks: Vec<Arc<Disk>>,
}

/// Simulated connections.
pub(super) struct Simulated<F>(PhantomData<F>);

impl<F: SplitForwarder<PublicKey>> Fabric for Simulated<F> {
    type Sender = SplitSender<PublicKey, Context, F>;
    type Receiver = simulated::Receiver<PublicKey>;
    type Peers = simulated::Manager<PublicKey, Context>;
    type Blocker = Control<PublicKey, Context>;
}

/// Runs `plan` to its end; panics where something does not hold.
pub(super) fn play(plan: Plan) -> Outcome {
    let honest = plan.honest().map(|number| (public_key_of(&seed(number)), number)).collect();
    let disks = (0..=plan.validators).map(|_| Arc::default()).collect();
    let world = Arc::new(World { plan, truth: Arc::new(Truth::new(honest)), disks });
    let torn = WriteConfig {
        failure_rate: probability!(0.0),
        retention_rate: world.plan.torn,
        mode: if world.plan.seed.is_multiple_of(2) { PartialWriteMode::Prefix } else { PartialWriteMode::Subset },
    };
    let config = Config::new()
        .with_seed(world.plan.seed)
        .with_timeout(Some(LONGEST + world.plan.length()))
        .with_storage_fault_config(FaultConfig::default().write(torn));
    let mut runner = Runner::new(config);
    for (number, phase) in world.plan.phases.iter().enumerate() {
        let last = number + 1 == world.plan.phases.len();
        let (outcome, checkpoint) =
            runner.start_and_recover(|context| Stage::play(context, Arc::clone(&world), phase, last));
        if last {
            return outcome;
        }
        runner = Runner::from(checkpoint);
    }
    panic!("a plan has a phase");
}

/// A phase that is being played.
struct Stage {
    context: Context,
    world: Arc<World>,
    oracle: Oracle<PublicKey, Context>,
    keys: Vec<PublicKey>,
    running: BTreeMap<usize, Running>,
    apart: Vec<usize>,
}

struct Running {
    ledger: Arc<SimLedger>,
    task: Handle<()>,
}

impl Stage {
    async fn play(context: Context, world: Arc<World>, phase: &Phase, last: bool) -> Outcome {
        let keys: Vec<_> = (0..world.plan.validators).map(|v| key_from(&public_key_of(&seed(v))).unwrap()).collect();
        let config = simulated::Config {
            max_size: largest_message(&setup(&world.plan, 0, "")),
            max_peers_per_set: NZUsize!(keys.len()),
            disconnect_on_block: world.plan.cut_off,
            tracked_peer_sets: NZUsize!(1),
        };
        let (network, oracle) = Network::new_with_peers(context.child("network"), config, keys.clone()).await;
        network.start();
        let mut stage = Self { context, world, oracle, keys, running: BTreeMap::new(), apart: Vec::new() };
        stage.link().await;
        stage.start_byzantine().await;
        for number in stage.world.clone().plan.honest() {
            stage.start(number).await;
        }
        let began = stage.context.current();
        let mut events = phase.events.iter().peekable();
        let mut client = Client::default();
        loop {
            let elapsed = stage.context.current().duration_since(began).unwrap();
            while let Some((_, event)) = events.next_if(|(at, _)| *at <= elapsed) {
                stage.happen(event).await;
            }
            if elapsed >= phase.length {
                break;
            }
            stage.submit(&mut client, elapsed);
            stage.context.sleep(TICK).await;
        }
        let (written, in_time) = (stage.written(), stage.recorded_everywhere());
        if last {
            stage.finish(&mut client).await;
        }
        Outcome {
            trace: stage.context.auditor().state(),
            height: stage.world.truth.height(),
            seen: stage.world.truth.seen(),
            written,
            in_time,
            took: stage.context.current().duration_since(std::time::UNIX_EPOCH).unwrap(),
        }
    }

    fn written(&self) -> u64 {
        let metrics = self.context.encode();
        let line = metrics.lines().find_map(|line| line.strip_prefix("runtime_storage_write_bytes_total "));
        line.expect("the runtime counts what it writes").parse().unwrap()
    }

    fn recorded_everywhere(&self) -> usize {
        let plan = &self.world.plan;
        let everywhere = |t: u64| plan.honest().all(|number| self.world.disks[number].height_of(t).is_some());
        plan.transactions.iter().filter(|(_, t)| everywhere(*t)).count()
    }

    async fn happen(&mut self, event: &Event) {
        match event {
            Event::Part(group) => {
                self.apart.clone_from(group);
                self.link().await;
            }
            Event::Heal => {
                self.apart.clear();
                self.link().await;
            }
            Event::Crash(number) => {
                if let Some(running) = self.running.remove(number) {
                    running.task.abort();
                }
            }
            Event::Restart(number, lost) => {
                if !self.running.contains_key(number) {
                    self.world.truth.saw(|seen| seen.restarts += 1);
                    self.world.disks[*number].roll_back(*lost);
                    self.start(*number).await;
                }
            }
        }
    }

    /// Everything works again, but for those that are down for good: all must come to the same end.
    async fn finish(&mut self, client: &mut Client) {
        self.happen(&Event::Heal).await;
        let world = Arc::clone(&self.world);
        let up: Vec<_> = world.plan.honest().filter(|number| !world.plan.down.contains(number)).collect();
        for number in &up {
            self.happen(&Event::Restart(*number, 0)).await;
        }
        let began = self.context.current();
        let (_, transactions): (Vec<_>, Vec<_>) = world.plan.transactions.iter().copied().unzip();
        let behind = |number: &usize| transactions.iter().any(|t| world.disks[*number].height_of(*t).is_none());
        while up.iter().any(behind) {
            let elapsed = self.context.current().duration_since(began).unwrap();
            assert!(
                elapsed < LONGEST_END,
                "no progress: heights {:?}, {} transactions handed in",
                up.iter().map(|v| world.disks[*v].height()).collect::<Vec<_>>(),
                world.truth.accepted().len()
            );
            self.submit(client, Duration::MAX);
            self.context.sleep(TICK).await;
        }
        assert!(world.truth.accepted().is_subset(&transactions.iter().copied().collect()));
        for (from, to) in self.oracle.blocked().await.unwrap() {
            let honest = |key: &PublicKey| world.truth.honest(crate::config::raw(key));
            if honest(&from).is_some() {
                assert!(honest(&to).is_none(), "an honest validator cut off an honest one");
                world.truth.saw(|seen| seen.cut_off += 1);
            }
        }
    }

    /// Clients hand in what is due, and again what nobody has recorded after a while, always to another validator.
    fn submit(&self, client: &mut Client, elapsed: Duration) {
        let now = self.context.current().duration_since(std::time::UNIX_EPOCH).unwrap();
        for (at, transaction) in &self.world.plan.transactions {
            let waited = client.sent.get(transaction).is_none_or(|sent| now.saturating_sub(*sent) > CLIENT_PATIENCE);
            if *at > elapsed || !waited || self.world.truth.height_of(*transaction).is_some() || self.running.is_empty()
            {
                continue;
            }
            client.turn += 1;
            let target = self.running.values().nth(client.turn % self.running.len());
            if target.is_some_and(|running| running.ledger.submit(*transaction)) {
                client.sent.insert(*transaction, now);
            }
        }
    }

    /// Makes the links what they should be now.
    async fn link(&self) {
        for (a, from) in self.keys.iter().enumerate() {
            for (b, to) in self.keys.iter().enumerate().filter(|(b, _)| *b != a) {
                let _new = self.oracle.remove_link(from.clone(), to.clone()).await.is_err();
                if self.apart.contains(&a) == self.apart.contains(&b) {
                    self.oracle.add_link(from.clone(), to.clone(), self.quality(a, b)).await.unwrap();
                }
            }
        }
    }

    fn quality(&self, a: usize, b: usize) -> Link {
        let plan = &self.world.plan;
        let extra = plan.far.filter(|(far, _)| *far == a || *far == b).map_or(Duration::ZERO, |(_, extra)| extra);
        Link { latency: plan.latency + extra, jitter: plan.jitter, success_rate: plan.delivered }
    }

    async fn start(&mut self, number: usize) {
        if self.world.plan.down.contains(&number) {
            return;
        }
        let reach = Reach::everyone();
        let ([senders, _], receivers) = byzantine::channels(&self.oracle, &self.keys[number], reach).await;
        let running = self.run(number, Character::Honest, PREFIXES[number], senders, receivers);
        self.running.insert(number, running);
    }

    async fn start_byzantine(&mut self) {
        let Some((number, how)) = self.world.plan.byzantine else { return };
        let key = self.keys[number].clone();
        match how {
            Byzantine::Garbage => byzantine::babble(&self.context, &self.oracle, &key).await,
            Byzantine::Liar => {
                let ([senders, _], receivers) = byzantine::channels(&self.oracle, &key, Reach::everyone()).await;
                let running = self.run(number, Character::Liar, PREFIXES[number], senders, receivers);
                self.running.insert(number, running);
            }
            Byzantine::Twin => {
                let others: Vec<_> = self.keys.iter().filter(|other| **other != key).cloned().collect();
                let reach = Reach::split(&mut self.context, &others);
                let ([first, second], receivers) = byzantine::channels(&self.oracle, &key, reach.clone()).await;
                let (in_first, in_second) = byzantine::split(&self.context, receivers, &reach);
                let running = self.run(number, Character::Twin, PREFIXES[number], first, in_first);
                self.running.insert(number, running);
                let second = self.run(self.keys.len(), Character::Twin, TWIN, second, in_second);
                self.running.insert(self.keys.len(), second);
            }
        }
    }

    /// Starts a validator; `number` is that of a disk, which for the second twin is one beyond all.
    fn run<F: SplitForwarder<PublicKey>>(
        &self,
        number: usize,
        character: Character,
        prefix: &'static str,
        senders: Senders<F>,
        receivers: Vec<simulated::Receiver<PublicKey>>,
    ) -> Running {
        let plan = &self.world.plan;
        let identity = if number < plan.validators { number } else { plan.byzantine.unwrap().0 };
        let owner = Owner {
            number,
            skew: plan.skews[identity] + if number == identity { 0 } else { 7 },
            apply_delay: plan.apply_delays[identity],
            character,
        };
        let disk = Arc::clone(&self.world.disks[number]);
        let truth = Arc::clone(&self.world.truth);
        let ledger = SimLedger::new(owner, disk, truth, self.context.child("ledger"), plan.seed);
        let setup = setup(plan, identity, prefix);
        let key = setup.public_key.clone();
        let (gossip, outboxes) = Gossip::new(setup.gossip_bound());
        ledger.connect(gossip);
        let chain: Arc<dyn Chain> = ledger.clone();
        let channels: Vec<_> = senders.into_iter().zip(receivers).collect();
        let channels = channels.try_into().unwrap_or_else(|_| panic!("all channels are there"));
        let links = Links::<Simulated<F>>::new(self.oracle.manager(), self.oracle.control(key), channels);
        let task = self.context.child("validator").with_attribute("number", number).spawn(move |context| async move {
            let (_run_on, stop_applier) = watch::channel(false);
            let mode = Mode { timing: setup.config.timing, proposes: true, outboxes: Some(outboxes), stop_applier };
            let parts = assemble(&context, &setup, &chain, || links, mode).await.unwrap();
            let ended = select_all([parts.blocks, parts.archive, parts.consensus]);
            match select(ended, parts.applier).await {
                Either::Left(((_, which, _), _)) => panic!("part {which} of validator {number} ended"),
                Either::Right((applied, _)) => panic!("{:?}", applied.map(|(_, result)| result)),
            }
        });
        Running { ledger, task }
    }
}

/// When a client has last handed in what.
#[derive(Default)]
struct Client {
    sent: BTreeMap<u64, Duration>,
    turn: usize,
}

fn seed(number: usize) -> [u8; 32] {
    [u8::try_from(number).unwrap() + 1; 32]
}

fn setup(plan: &Plan, number: usize, prefix: &'static str) -> Setup {
    let address = |number: usize| SocketAddr::from(([127, 0, 0, 1], 10_000 + u16::try_from(number).unwrap()));
    let validators = (0..plan.validators)
        .map(|number| Validator { key: public_key_of(&seed(number)), address: address(number) })
        .collect();
    let config = EngineConfig {
        storage_dir: "unused".into(),
        namespace: b"a simulated network".to_vec(),
        validator_seed: Zeroizing::new(seed(number)),
        validators,
        listen: address(number),
        genesis_header: Bytes::new(),
        epoch: 0,
        first_height: 0,
        past: Vec::new(),
        max_header_bytes: 16,
        max_payload_bytes: 256,
        max_gossip_bytes: 64,
        timing: Timing::lan(),
        network: Peers::Local,
        worker_threads: 1,
    };
    Setup { prefix, ..Setup::new(config).unwrap() }
}

/// How often clients and events are looked at.
const TICK: Duration = Duration::from_millis(50);
/// After this much simulated time without an end a run has failed.
const LONGEST_END: Duration = Duration::from_mins(3);
const LONGEST: Duration = Duration::from_mins(10);
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
const PREFIXES: [&str; 7] = ["v0-", "v1-", "v2-", "v3-", "v4-", "v5-", "v6-"];
const TWIN: &str = "twin-";
const _: () = assert!(CHANNELS.len() == 8);

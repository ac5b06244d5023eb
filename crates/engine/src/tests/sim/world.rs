//! Plays a [`Plan`]: validators with the engine's own wiring on a simulated network, disk and clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    marker::PhantomData,
    sync::Arc,
    time::{Duration, SystemTime},
};

use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::{self, Control, Network, Oracle, SplitForwarder, SplitSender};
use commonware_runtime::{
    Clock as _, Handle, Metrics as _, Spawner as _, Supervisor as _,
    deterministic::{Config, Context, FaultConfig, PartialWriteMode, Runner, WriteConfig},
};
use commonware_utils::{NZUsize, probability};
use futures::future::{Either, select, select_all};
use tokio::sync::{mpsc, watch};

use super::{
    byzantine::{self, Reach, Senders},
    clients::Client,
    disk::Disk,
    ledger::{Character, Owner, SimLedger},
    membership::{seed, setup},
    plan::{Byzantine, Event, Phase, Plan},
    traps::{Lookout, Moment, Notice},
    truth::{Seen, Truth},
};
use crate::{
    Chain, Gossip,
    config::key_from,
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
    /// How long each change of validators held up the network.
    pub(super) pauses: Vec<Duration>,
}

/// What outlives a power failure.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) truth: Arc<Truth>,
    pub(super) disks: Vec<Arc<Disk>>,
    pub(super) lookout: Arc<Lookout>,
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
    let lookout = Arc::new(Lookout::new(plan.traps.clone()));
    let world = Arc::new(World { plan, truth: Arc::new(Truth::new(honest)), disks, lookout });
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
pub(super) struct Stage {
    pub(super) context: Context,
    pub(super) world: Arc<World>,
    pub(super) oracle: Oracle<PublicKey, Context>,
    pub(super) keys: Vec<PublicKey>,
    pub(super) running: BTreeMap<usize, Running>,
    pub(super) apart: Vec<usize>,
    pub(super) links: BTreeSet<(usize, usize)>,
    /// New validators that have been told to start.
    pub(super) invited: BTreeSet<usize>,
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
    pub(super) events: VecDeque<(SystemTime, Event)>,
    last: bool,
    power_failed: bool,
}

pub(super) struct Running {
    pub(super) ledger: Arc<SimLedger>,
    task: Handle<()>,
    pub(super) epoch: u64,
}

impl Stage {
    async fn play(context: Context, world: Arc<World>, phase: &Phase, last: bool) -> Outcome {
        let keys: Vec<_> = (0..world.plan.validators).map(|v| key_from(&public_key_of(&seed(v))).unwrap()).collect();
        let config = simulated::Config {
            max_size: largest_message(&setup(&world.plan, 0, "", 0, &[])),
            max_peers_per_set: NZUsize!(keys.len()),
            disconnect_on_block: world.plan.cut_off,
            tracked_peer_sets: NZUsize!(1),
        };
        let (network, oracle) = Network::new_with_peers(context.child("network"), config, keys.clone()).await;
        network.start();
        let notices = world.lookout.listen();
        let began = context.current();
        let mut stage = Self {
            context,
            world,
            oracle,
            keys,
            running: BTreeMap::new(),
            apart: Vec::new(),
            links: BTreeSet::new(),
            invited: BTreeSet::new(),
            notices,
            events: VecDeque::new(),
            last,
            power_failed: false,
        };
        stage.schedule(began, &phase.events);
        stage.link().await;
        stage.start_byzantine().await;
        for number in stage.world.clone().plan.honest() {
            stage.start(number).await;
        }
        let mut client = Client::default();
        loop {
            let elapsed = stage.context.current().duration_since(began).unwrap();
            stage.happenings().await;
            if elapsed >= phase.length || stage.power_failed && !last {
                break;
            }
            stage.submit(&mut client, elapsed);
            stage.pass_time().await;
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
            pauses: stage.world.truth.pauses(),
        }
    }

    /// Waits for the next tick, or for word from a validator.
    pub(super) async fn pass_time(&mut self) {
        let tick = Box::pin(self.context.sleep(TICK));
        let notice = match select(tick, Box::pin(self.notices.recv())).await {
            Either::Left(_) => None,
            Either::Right((notice, _)) => notice,
        };
        if let Some(notice) = notice {
            self.heed(&notice);
        }
        self.invite();
    }

    pub(super) fn heed(&mut self, notice: &Notice) {
        match notice {
            Notice::Closed(number) => self.exchange(*number),
            Notice::Sprung(events) => {
                self.world.truth.saw(|seen| seen.sprung += 1);
                self.schedule(self.now(), events);
            }
        }
    }

    pub(super) fn schedule(&mut self, from: SystemTime, events: &[(Duration, Event)]) {
        self.events.extend(events.iter().map(|(after, event)| (from + *after, event.clone())));
        self.events.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// What is due.
    pub(super) async fn happenings(&mut self) {
        let now = self.context.current();
        while self.events.front().is_some_and(|(at, _)| *at <= now) {
            let (_, event) = self.events.pop_front().unwrap();
            self.happen(&event).await;
        }
    }

    fn written(&self) -> u64 {
        let metrics = self.context.encode();
        let line = metrics.lines().find_map(|line| line.strip_prefix("runtime_storage_write_bytes_total "));
        line.expect("the runtime counts what it writes").parse().unwrap()
    }

    pub(super) async fn happen(&mut self, event: &Event) {
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
                self.stop(*number);
            }
            Event::Restart(number, lost) => {
                if !self.running.contains_key(number) && self.epoch_of(*number).is_some() {
                    self.world.truth.saw(|seen| seen.restarts += 1);
                    self.world.disks[*number].roll_back(*lost);
                    self.start(*number).await;
                }
            }
            Event::Power if self.last => {
                let all: Vec<_> = self.world.plan.honest().collect();
                for number in &all {
                    self.stop(*number);
                }
                let restarts: Vec<_> = all.into_iter().map(|number| (TICK, Event::Restart(number, 0))).collect();
                self.schedule(self.now(), &restarts);
            }
            Event::Power => self.power_failed = true,
            Event::Exchange(number) => {
                self.start(*number).await;
                if let Some(epoch) = self.running.get(number).and_then(|running| running.epoch.checked_sub(1)) {
                    self.world.lookout.reach(*number, epoch, Moment::Exchanged);
                }
            }
            Event::Join(number) => {
                self.give_file(*number);
                self.start(*number).await;
            }
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.context.current()
    }

    pub(super) fn stop(&mut self, number: usize) {
        if let Some(running) = self.running.remove(&number) {
            running.task.abort();
        }
    }

    pub(super) async fn start(&mut self, number: usize) {
        let Some(epoch) = self.epoch_of(number) else { return };
        if self.world.plan.down.contains(&number) || self.running.contains_key(&number) {
            return;
        }
        let reach = Reach::everyone();
        let ([senders, _], receivers) = byzantine::channels(&self.oracle, &self.keys[number], reach).await;
        let running = self.run(number, epoch, Character::Honest, PREFIXES[number], senders, receivers);
        self.running.insert(number, running);
        self.link().await;
    }

    async fn start_byzantine(&mut self) {
        let Some((number, how)) = self.world.plan.byzantine else { return };
        let key = self.keys[number].clone();
        match how {
            Byzantine::Garbage => byzantine::babble(&self.context, &self.oracle, &key).await,
            Byzantine::Liar => {
                let ([senders, _], receivers) = byzantine::channels(&self.oracle, &key, Reach::everyone()).await;
                let running = self.run(number, 0, Character::Liar, PREFIXES[number], senders, receivers);
                self.running.insert(number, running);
            }
            Byzantine::Twin => {
                let others: Vec<_> = self.keys.iter().filter(|other| **other != key).cloned().collect();
                let reach = Reach::split(&mut self.context, &others);
                let ([first, second], receivers) = byzantine::channels(&self.oracle, &key, reach.clone()).await;
                let (in_first, in_second) = byzantine::split(&self.context, receivers, &reach);
                let running = self.run(number, 0, Character::Twin, PREFIXES[number], first, in_first);
                self.running.insert(number, running);
                let second = self.run(self.keys.len(), 0, Character::Twin, TWIN, second, in_second);
                self.running.insert(self.keys.len(), second);
            }
        }
    }

    /// Starts a validator; `number` is that of a disk, which for the second twin is one beyond all.
    fn run<F: SplitForwarder<PublicKey>>(
        &self,
        number: usize,
        epoch: u64,
        character: Character,
        prefix: &'static str,
        senders: Senders<F>,
        receivers: Vec<simulated::Receiver<PublicKey>>,
    ) -> Running {
        let plan = &self.world.plan;
        let identity = if number < plan.validators { number } else { plan.byzantine.unwrap().0 };
        let firsts = self.firsts(number, epoch);
        let owner = Owner {
            number,
            epoch,
            first_height: firsts.last().copied().unwrap_or(0),
            members: plan.set(epoch).unwrap().clone(),
            skew: plan.skews[identity] + if number == identity { 0 } else { 7 },
            apply_delay: plan.apply_delays[identity],
            character,
        };
        let disk = Arc::clone(&self.world.disks[number]);
        let truth = Arc::clone(&self.world.truth);
        let lookout = Arc::clone(&self.world.lookout);
        let ledger = SimLedger::new(owner, disk, truth, lookout, self.context.child("ledger"), plan.seed);
        let setup = setup(plan, identity, prefix, epoch, &firsts);
        let key = setup.public_key.clone();
        let (gossip, outboxes) = Gossip::new(setup.gossip_bound());
        ledger.connect(gossip);
        let chain: Arc<dyn Chain> = ledger.clone();
        let channels: Vec<_> = senders.into_iter().zip(receivers).collect();
        let channels = channels.try_into().unwrap_or_else(|_| panic!("all channels are there"));
        let links = Links::<Simulated<F>>::new(self.oracle.manager(), self.oracle.control(key), channels);
        let signing = Arc::clone(&ledger);
        let task = self.context.child("validator").with_attribute("number", number).spawn(move |context| async move {
            let (_run_on, stop_applier) = watch::channel(false);
            let mode = Mode { timing: setup.config.timing, proposes: true, outboxes: Some(outboxes), stop_applier };
            let parts = assemble(&context, &setup, &chain, || links, mode).await.unwrap();
            let signer = Arc::clone(&signing);
            context.child("cosign").spawn(|_| signer.cosign());
            let ended = select_all([parts.blocks, parts.archive, parts.consensus]);
            match select(ended, parts.applier).await {
                Either::Left(((_, which, _), _)) => panic!("part {which} of validator {number} ended"),
                Either::Right((applied, _)) => panic!("{:?}", applied.map(|(_, result)| result)),
            }
        });
        Running { ledger, task, epoch }
    }
}

/// How often clients and events are looked at.
const TICK: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_mins(20);
const PREFIXES: [&str; 7] = ["v0-", "v1-", "v2-", "v3-", "v4-", "v5-", "v6-"];
const TWIN: &str = "twin-";
const _: () = assert!(CHANNELS.len() == 8);

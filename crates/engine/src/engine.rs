//! The handle to the running engine.
//!
//! For: starting it on its own thread, and learning why it ended. Not for: what runs on that thread (`run.rs`).

use std::{
    any::Any,
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use tokio::sync::watch;
use tracing::error;

use crate::{
    chain::{Chain, Topic},
    config::{EngineConfig, Setup, Validator, key_from, raw},
    error::EngineError,
    gossip::{BroadcastError, Gossip},
    network::Addresses,
    run::{self, Controls},
};

/// A running validator. Dropping it asks the engine to stop, without waiting.
#[derive(Debug)]
pub struct Engine {
    stop: watch::Sender<bool>,
    state: watch::Receiver<State>,
    gossip: Gossip,
    addresses: watch::Sender<Addresses>,
    public_key: [u8; 32],
}

#[derive(Clone, Debug)]
enum State {
    Starting,
    Running,
    Ended(Result<(), Arc<EngineError>>),
}

impl Engine {
    /// Checks `config` and starts the engine on a thread of its own, with a runtime of its own.
    ///
    /// Faults of the configuration, the folder and the address are returned at once. Storage is opened afterwards:
    /// [`ready`](Self::ready) waits for it, and [`wait`](Self::wait) tells of a failure.
    pub fn start(config: EngineConfig, chain: Arc<dyn Chain>) -> Result<Self, EngineError> {
        let setup = Setup::new(config)?;
        std::fs::create_dir_all(&setup.config.storage_dir)
            .map_err(|source| EngineError::Folder { path: setup.config.storage_dir.clone(), source })?;
        // The library panics on an address that is taken; this finds it while there is someone to tell.
        let address = setup.config.listen;
        drop(TcpListener::bind(address).map_err(|source| EngineError::Listen { address, source })?);

        let (stop, stopped) = watch::channel(false);
        let (report, state) = watch::channel(State::Starting);
        let (gossip, outboxes) = if setup.is_alone() {
            (Gossip::none(setup.gossip_bound()), None)
        } else {
            let (gossip, outboxes) = Gossip::new(setup.gossip_bound());
            (gossip, Some(outboxes))
        };
        chain.connect(gossip.clone());
        let (addresses, changed_addresses) = watch::channel(Addresses::new());
        let engine = Self { stop, state, gossip, addresses, public_key: raw(&setup.public_key) };
        let thread = move || {
            let running = report.clone();
            let controls = Controls {
                stop: stopped,
                addresses: changed_addresses,
                running: Box::new(move || {
                    running.send_replace(State::Running);
                }),
            };
            let result = catch_unwind(AssertUnwindSafe(|| run::run(&setup, &chain, &controls, outboxes)))
                .unwrap_or_else(|panic| Err(EngineError::Panicked(panic_text(panic.as_ref()))));
            if let Err(error) = &result {
                error!(%error, "consensus ended");
            }
            // The chain goes first: whoever hears that the engine ended may open the ledger again.
            drop(chain);
            report.send_replace(State::Ended(result.map_err(Arc::new)));
        };
        thread::Builder::new().name("consensus".into()).spawn(thread).map_err(EngineError::Thread)?;
        Ok(engine)
    }

    /// The own consensus key.
    pub const fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// Waits until storage is open and consensus runs. An error means that the engine has ended.
    pub async fn ready(&self) -> Result<(), Arc<EngineError>> {
        self.until(|state| match state {
            State::Starting => None,
            State::Running => Some(Ok(())),
            State::Ended(result) => Some(result.clone().and(Err(Arc::new(EngineError::Stopped("thread"))))),
        })
        .await
    }

    /// Waits until the engine has ended: `Ok` after [`shutdown`](Self::shutdown), else why it ended by itself.
    pub async fn wait(&self) -> Result<(), Arc<EngineError>> {
        self.until(|state| match state {
            State::Starting | State::Running => None,
            State::Ended(result) => Some(result.clone()),
        })
        .await
    }

    /// Lets the ledger finish its batch and the engine sync its data, and waits for the end.
    pub async fn shutdown(&self) -> Result<(), Arc<EngineError>> {
        self.stop.send_replace(true);
        self.wait().await
    }

    /// The sending end of gossip.
    pub const fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// Tells where validators are now. Those that are not in the set, and addresses that have not changed, are ignored;
    /// a connection to an old address is closed.
    pub fn set_addresses(&self, validators: &[Validator]) {
        let known = validators.iter().filter_map(|v| key_from(&v.key).map(|key| (key, v.address)));
        self.addresses.send_replace(known.collect());
    }

    /// [`Gossip::broadcast`].
    pub fn broadcast(&self, topic: Topic, message: Bytes) -> Result<(), BroadcastError> {
        self.gossip.broadcast(topic, message)
    }

    async fn until(
        &self,
        settled: impl Fn(&State) -> Option<Result<(), Arc<EngineError>>>,
    ) -> Result<(), Arc<EngineError>> {
        let mut state = self.state.clone();
        loop {
            if let Some(result) = settled(&state.borrow_and_update()) {
                return result;
            }
            if state.changed().await.is_err() {
                return Err(Arc::new(EngineError::Stopped("thread")));
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

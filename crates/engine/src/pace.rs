//! When time counts in consensus: only while there is something to agree on.
//!
//! A leader's time-out must be short, for a dead one holds up every record that waits; and it must be long, for without
//! records each turn ends in an empty block or in a vote to skip it, and either is kept on disk. So its clock stands
//! still while this validator knows of nothing that waits, of no vote above the last final turn, and of nobody who has
//! missed that one (`calls.rs`). Then nobody votes, nothing is written, and the leader waits for work as long as [`Timing::idle`](crate::Timing::idle).
//!
//! For: [`Pace`], which says whether time runs, and [`Paced`], a runtime with that clock. Not for: how long to wait for
//! what (`config.rs`), or what counts as work (the chain).
//!
//! Safety does not depend on it, as it depends on no clock. Progress does not either: whatever waits anywhere is told to
//! all, and a vote above the last final turn, whoever casts it, makes time run at whoever hears of it, until a later
//! turn is final.

use std::{
    future::Future,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter, Viewable as _,
    simplex::{scheme::ed25519::Scheme, types::Activity},
    types::View,
};
use commonware_cryptography::sha256::Digest;
use commonware_runtime::{
    BlobVersion, Clock, Error, Handle, Metrics, Name, Spawner, Storage, Supervisor, signal::Signal, telemetry::metrics,
};
use futures::future::{BoxFuture, pending, select};
use rand_core::{TryCryptoRng, TryRng};
use tokio::sync::Notify;

use crate::{chain::Chain, parts::Platform};

/// Whether there is anything to agree on, and how long there has been.
pub(crate) struct Pace {
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
    sleep: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The chain has something that waits.
    work: bool,
    /// Another validator needs a block, whatever it holds.
    called: bool,
    /// The highest turn about which anybody has voted, and the highest that is final.
    voted: View,
    last_final: View,
    final_since: SystemTime,
    /// Since when the clock has stood still, if it does; and how long it has stood before.
    still: Option<SystemTime>,
    lost: Duration,
}

impl State {
    fn is_idle(&self) -> bool {
        !self.work && !self.called && self.voted <= self.last_final
    }
}

impl Pace {
    /// With the runtime's clock. Nothing waits yet.
    pub(crate) fn new<E: Platform>(runtime: E) -> Self {
        let now = runtime.current();
        let state = State {
            work: false,
            called: false,
            voted: View::zero(),
            last_final: View::zero(),
            final_since: now,
            still: Some(now),
            lost: Duration::ZERO,
        };
        let runtime = Arc::new(runtime);
        let clock = Arc::clone(&runtime);
        Self {
            now: Box::new(move || clock.current()),
            sleep: Box::new(move |duration| Box::pin(runtime.sleep(duration))),
            state: Mutex::new(state),
            moved: Notify::new(),
        }
    }

    /// Asks the chain again and again whether anything waits. Never ends.
    pub(crate) async fn follow(&self, chain: &dyn Chain) {
        loop {
            let (work, changed) = chain.work();
            self.update(|state| state.work = work);
            changed.await;
        }
    }

    fn voted(&self, view: View) {
        self.update(|state| state.voted = state.voted.max(view));
    }

    fn is_final(&self, view: View) {
        let now = (self.now)();
        self.update(|state| {
            if view > state.last_final {
                (state.last_final, state.final_since, state.called) = (view, now, false);
            }
        });
    }

    /// The highest turn that is known to be final.
    pub(crate) fn last_final(&self) -> View {
        self.state().last_final
    }

    /// Another validator knows of nothing final above `view`. True if it gets a block for that.
    pub(crate) fn is_called_by(&self, view: View) -> bool {
        let now = (self.now)();
        let mut called = false;
        self.update(|state| {
            let quiet = now.duration_since(state.final_since).is_ok_and(|since| since >= QUIET);
            called = state.is_idle() && quiet && view < state.last_final;
            state.called |= called;
        });
        called
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if state.is_idle() == state.still.is_some() {
            return;
        }
        let now = (self.now)();
        match state.still.take() {
            // A clock that was set back counts as no time at all.
            Some(since) => state.lost += now.duration_since(since).unwrap_or_default(),
            None => state.still = Some(now),
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// The time that has counted.
    fn current(&self) -> SystemTime {
        let state = *self.state();
        let now = state.still.unwrap_or_else(|| (self.now)());
        now.checked_sub(state.lost).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Ends when so much time has counted.
    pub(crate) fn sleep(self: Arc<Self>, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let deadline = self.current().checked_add(duration);
        async move {
            match deadline {
                Some(deadline) => self.sleep_until(deadline).await,
                None => pending().await,
            }
        }
    }

    async fn sleep_until(&self, deadline: SystemTime) {
        loop {
            // Asked for before looking, so that no change between the two is missed.
            let moved = Box::pin(self.moved.notified());
            let left = deadline.duration_since(self.current()).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            if self.state().still.is_some() {
                moved.await;
            } else {
                select((self.sleep)(left), moved).await;
            }
        }
    }

    // Plain values: whoever panicked cannot have left them half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A runtime whose clock stands still while its [`Pace`] is idle.
pub(crate) struct Paced<E> {
    pub(crate) runtime: E,
    pub(crate) pace: Arc<Pace>,
}

impl<E: Platform> Clock for Paced<E> {
    fn current(&self) -> SystemTime {
        self.pace.current()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<E> {
        Arc::clone(&self.pace).sleep(duration)
    }

    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static + use<E> {
        let pace = Arc::clone(&self.pace);
        async move { pace.sleep_until(deadline).await }
    }
}

impl<E: Platform> governor::clock::Clock for Paced<E> {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl<E: Platform> governor::clock::ReasonablyRealtime for Paced<E> {}

impl<E: Platform> Supervisor for Paced<E> {
    fn name(&self) -> Name {
        self.runtime.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { runtime: self.runtime.child(label), pace: Arc::clone(&self.pace) }
    }

    fn with_attribute(self, key: &'static str, value: impl std::fmt::Display) -> Self {
        Self { runtime: self.runtime.with_attribute(key, value), ..self }
    }
}

impl<E: Platform> Spawner for Paced<E> {
    fn shared(self, blocking: bool) -> Self {
        Self { runtime: self.runtime.shared(blocking), ..self }
    }

    fn dedicated(self) -> Self {
        Self { runtime: self.runtime.dedicated(), ..self }
    }

    fn spawn<F, Fut, T>(self, task: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self { runtime, pace } = self;
        runtime.spawn(move |runtime| task(Self { runtime, pace }))
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.runtime.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.runtime.stopped()
    }
}

impl<E: Platform> Metrics for Paced<E> {
    fn register<N: Into<String>, H: Into<String>, M: metrics::Metric>(
        &self,
        name: N,
        help: H,
        metric: M,
    ) -> metrics::Registered<M> {
        self.runtime.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.runtime.encode()
    }
}

impl<E: Platform> TryRng for Paced<E> {
    type Error = E::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.runtime.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.runtime.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.runtime.try_fill_bytes(bytes)
    }
}

impl<E: Platform> TryCryptoRng for Paced<E> {}

impl<E: Platform> Storage for Paced<E> {
    type Blob = E::Blob;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        self.runtime.open_versioned(partition, name, versions).await
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.runtime.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.runtime.scan(partition).await
    }
}

/// What became final less than this ago is still on its way to the others.
const QUIET: Duration = Duration::from_secs(1);

/// Tells the pace of votes on their way to `inner`.
#[derive(Clone)]
pub(crate) struct Watcher<R> {
    pub(crate) inner: R,
    pub(crate) pace: Arc<Pace>,
}

impl<R: Reporter<Activity = Activity<Scheme, Digest>>> Reporter for Watcher<R> {
    type Activity = R::Activity;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        match &activity {
            Activity::Finalization(finalization) => self.pace.is_final(finalization.view()),
            other => self.pace.voted(other.view()),
        }
        self.inner.report(activity)
    }
}

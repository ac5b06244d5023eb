//! Trouble at exact moments of an epoch's end, and word from validators to the stage that plays them.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::mpsc;

use super::plan::Event;

/// A moment in the life of a validator at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The act is applied.
    Scheduled,
    /// The last block but one is applied.
    Eve,
    /// The last block is decided and about to be applied.
    Applying,
    /// The last block is applied, and not signed yet.
    Applied,
    /// The closing is kept, the next engine not started.
    Closed,
    /// The next epoch's engine has started.
    Exchanged,
    /// The next epoch's first block is decided and about to be applied.
    Beginning,
    /// The next epoch's first block is applied.
    Begun,
}

impl Moment {
    pub(super) const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Eve,
        Self::Applying,
        Self::Applied,
        Self::Closed,
        Self::Exchanged,
        Self::Beginning,
        Self::Begun,
    ];
}

/// What happens when a validator comes to a moment at the end of `epoch`, once.
#[derive(Clone, Debug)]
pub(super) struct Trap {
    pub(super) who: usize,
    pub(super) epoch: u64,
    pub(super) moment: Moment,
    /// How long after it.
    pub(super) then: Vec<(Duration, Event)>,
}

/// Word to the stage.
#[derive(Debug)]
pub(super) enum Notice {
    /// This validator keeps how its epoch has ended.
    Closed(usize),
    /// These events are due so much later.
    Sprung(Vec<(Duration, Event)>),
}

/// Traps that are set, and the way to the stage.
pub(super) struct Lookout(Mutex<State>);

struct State {
    traps: Vec<Trap>,
    notices: Option<mpsc::UnboundedSender<Notice>>,
}

impl Lookout {
    pub(super) const fn new(traps: Vec<Trap>) -> Self {
        Self(Mutex::new(State { traps, notices: None }))
    }

    /// A new phase listens.
    pub(super) fn listen(&self) -> mpsc::UnboundedReceiver<Notice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().notices = Some(sender);
        receiver
    }

    pub(super) fn disarm(&self) {
        self.state().traps.clear();
    }

    pub(super) fn closed(&self, who: usize) {
        self.state().tell(Notice::Closed(who));
    }

    /// A validator comes to a moment. True if it is to go no further.
    pub(super) fn reach(&self, who: usize, epoch: u64, moment: Moment) -> bool {
        let mut state = self.state();
        let found = |trap: &Trap| (trap.who, trap.epoch, trap.moment) == (who, epoch, moment);
        let Some(at) = state.traps.iter().position(found) else { return false };
        let then = state.traps.remove(at).then;
        let ends = |(after, event): &(Duration, Event)| after.is_zero() && event.ends(who);
        let ended = then.iter().any(ends);
        state.tell(Notice::Sprung(then));
        ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn tell(&self, notice: Notice) {
        // Between two phases nobody listens.
        let _unheard = self.notices.as_ref().is_some_and(|notices| notices.send(notice).is_err());
    }
}

//! Ending in good order.
//!
//! For: turning signals and a parent's death into one cancellation, and running background tasks so
//! that none fails unseen and shutdown waits for all. Not for: draining connections (`server`).

use std::error::Error;
use std::future::Future;
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A token that SIGINT or SIGTERM cancels. A second signal ends the process at once.
///
/// Must be called within a tokio runtime.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // Not waited for: it ends with the runtime.
    TaskTracker::new().spawn(async move {
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if cancelled.is_cancelled() {
                tracing::warn!(signal = name, "second signal; ending without waiting");
                std::process::exit(130);
            }
            tracing::info!(signal = name, "shutting down");
            cancelled.cancel();
        }
    });
    Ok(token)
}

/// Ends this process when its parent dies, however it dies: cancels the token, then exits after
/// `grace` if that was not enough.
///
/// The parent must have given this process a pipe as standard input (`Stdio::piped()`) and keep its end
/// open. The system closes that end even after SIGKILL. Linux's parent-death signal is not used: it
/// fires when the *thread* that started the child ends, which a runtime's thread may at any time.
pub fn die_with_parent(token: CancellationToken, grace: Duration) -> io::Result<()> {
    std::thread::Builder::new().name("parent-watch".to_owned()).spawn(move || {
        wait_for_end(io::stdin().lock());
        tracing::info!("the parent process is gone; shutting down");
        token.cancel();
        std::thread::sleep(grace);
        std::process::exit(1);
    })?;
    Ok(())
}

/// Reads until the other end is closed; a read error counts as closed.
fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// A background task ended in an error or a panic.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{task} failed: {cause}")]
pub struct TaskFailure {
    task: &'static str,
    cause: String,
}

/// Still running when the deadline of [`Tasks::finish`] passed, or failed before.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FinishError {
    /// The first task that failed.
    #[error(transparent)]
    Failed(TaskFailure),
    /// Some did not end in time.
    #[error("{0} background tasks did not end in time")]
    Unfinished(usize),
}

/// The background tasks of a process. If one fails, all are cancelled: a service that has lost a part
/// must not go on as if it had not.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    failure: Arc<Mutex<Option<TaskFailure>>>,
}

impl Tasks {
    /// None yet. They are to end when the token is cancelled, and cancel it if one fails.
    pub fn new(token: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), token, failure: Arc::default() }
    }

    /// The token that every task must watch.
    pub const fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Starts a task. Its error or panic is logged under its name and cancels the token.
    pub fn spawn<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (token, failure) = (self.token.clone(), Arc::clone(&self.failure));
        self.tracker.spawn(async move {
            let cause = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => chain(&*error.into()),
                Err(panic) => format!("panic: {}", panic_text(&*panic)),
            };
            tracing::error!(task = name, cause, "background task failed; shutting down");
            failure.lock().get_or_insert(TaskFailure { task: name, cause });
            token.cancel();
        });
    }

    /// Waits for cancellation, then until all tasks have ended, at most `deadline` long. Tasks that
    /// are still running then are left to the runtime's end.
    pub async fn finish(self, deadline: Duration) -> Result<(), FinishError> {
        self.token.cancelled().await;
        self.tracker.close();
        let ended = tokio::time::timeout(deadline, self.tracker.wait()).await;
        if let Some(failure) = self.failure.lock().clone() {
            return Err(FinishError::Failed(failure));
        }
        ended.map_err(|_| FinishError::Unfinished(self.tracker.len()))
    }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn until_cancelled(token: CancellationToken) -> Result<(), Infallible> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn failed_task_cancels_the_others_and_is_named() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("steady", until_cancelled(tasks.token().clone()));
        tasks.spawn("faulty", async { Err(io::Error::other("disk on fire")) });
        let error = tasks.finish(DEADLINE).await.unwrap_err().to_string();
        assert_eq!(error, "faulty failed: disk on fire");
    }

    #[tokio::test]
    async fn panicking_task_counts_as_failed() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("faulty", async {
            assert!(DEADLINE.is_zero(), "boom");
            Ok::<(), Infallible>(())
        });
        let error = tasks.finish(DEADLINE).await.unwrap_err().to_string();
        assert_eq!(error, "faulty failed: panic: boom");
    }

    #[tokio::test]
    async fn cancelled_tasks_finish_without_an_error() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("steady", until_cancelled(tasks.token().clone()));
        tasks.token().cancel();
        tasks.finish(DEADLINE).await.unwrap();
    }

    #[tokio::test]
    async fn hanging_task_is_reported_after_the_deadline() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("hanging", std::future::pending::<Result<(), Infallible>>());
        tasks.token().cancel();
        let finished = tasks.finish(Duration::from_millis(10)).await;
        assert!(matches!(finished, Err(FinishError::Unfinished(1))));
    }

    #[tokio::test]
    async fn signal_cancels_the_token() {
        let token = on_signal().unwrap();
        assert!(!token.is_cancelled());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(DEADLINE, token.cancelled()).await.unwrap();
    }

    #[test]
    fn input_ends_only_when_the_other_end_is_closed() {
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let watch = std::thread::spawn(move || {
            wait_for_end(theirs);
            sender.send(()).unwrap();
        });
        io::Write::write_all(&mut ours, b"noise").unwrap();
        assert!(receiver.try_recv().is_err());
        drop(ours);
        receiver.recv_timeout(DEADLINE).unwrap();
        watch.join().unwrap();
    }
}

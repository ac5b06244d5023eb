//! One run of `rpicam-still`.
//!
//! For: starting it in an empty folder, taking shots with it, and being sure that it has ended.
//!
//! Not for: what to do when it fails (`supervisor`), or whether its files are any good (`shot`).
//!
//! A line feed on its standard input takes a shot; `x` ends it. Its files appear in the order JPEG, DNG,
//! metadata, the last of which is complete when its closing brace is there. The program looks at its
//! input once a frame, so a shot may be asked for before it is ready.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::RpicamError;
use super::command::{CommandLine, METADATA, shot_names};
use super::metadata::is_complete;
use super::scratch::Scratch;
use super::shot::ShotFiles;
use super::stderr::StderrLog;

/// A running camera program. It must be ended by [`Process::end`] or [`Process::kill`].
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    stderr: JoinHandle<()>,
    log: Arc<Mutex<StderrLog>>,
    shots: u32,
    started: Instant,
}

impl Process {
    /// Starts the program. Whether it finds a camera is seen when a shot is taken.
    pub(super) fn start(command: &CommandLine, scratch: &Scratch) -> Result<Self, RpicamError> {
        scratch.clear()?;
        let mut line = Command::new(&command.program);
        line.args(&command.arguments)
            .current_dir(scratch.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal is for us to deal with: the shot at hand is finished first.
            .process_group(0)
            .kill_on_drop(true);
        let failed = |source| RpicamError::Start { program: command.program.clone(), source };
        let mut child = line.spawn().map_err(failed)?;
        let (Some(stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let log = Arc::new(Mutex::new(StderrLog::default()));
        let stderr = TaskTracker::new().spawn(drain(stderr, Arc::clone(&log)));
        Ok(Self { child, stdin, stderr, log, shots: 0, started: Instant::now() })
    }

    /// How long it has been running.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes a shot and gives its files. After an error the program must be killed.
    pub(super) async fn shoot(&mut self, scratch: &Scratch, deadline: Instant) -> Result<ShotFiles, RpicamError> {
        let started = Instant::now();
        lock(&self.log).begin_shot();
        // The mark of completion must be this shot's.
        scratch.remove(METADATA);
        let [jpeg, dng] = shot_names(self.shots);
        self.shots = self.shots.wrapping_add(1);
        // A program that has ended is found below, whether the trigger could be written or not.
        let triggered = self.stdin.write_all(TRIGGER).await.is_ok();
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ended = tokio::select! {
                biased;
                status = self.child.wait() => Some(status),
                _ = ticks.tick() => None,
                () = sleep_until(deadline) => return Err(RpicamError::Hung(started.elapsed())),
            };
            let metadata = scratch.read(METADATA, MAX_METADATA)?.filter(|text| is_complete(text));
            match (metadata, ended) {
                (Some(metadata), _) => return collect(scratch, &jpeg, &dng, metadata),
                (None, Some(status)) => return Err(self.ended(status.ok()).await),
                (None, None) if !triggered => return Err(self.ended(None).await),
                (None, None) => {}
            }
        }
    }

    /// Waits until the program ends by itself, and says why.
    pub(super) async fn wait(&mut self) -> RpicamError {
        let status = self.child.wait().await;
        self.ended(status.ok()).await
    }

    /// Ends it in good order, or kills it.
    pub(super) async fn end(mut self) {
        let asked = async {
            self.stdin.write_all(END).await?;
            self.child.wait().await
        };
        if timeout(GRACE, asked).await.is_ok_and(|ended| ended.is_ok()) {
            self.stderr.abort();
            return;
        }
        self.kill().await;
    }

    /// Kills it and waits until it is gone.
    pub(super) async fn kill(mut self) {
        let gone = matches!(self.child.try_wait(), Ok(Some(_)));
        if let Some(error) = if gone { None } else { self.child.kill().await.err() } {
            tracing::warn!(%error, "the camera program could not be killed");
        }
        self.stderr.abort();
    }

    async fn ended(&mut self, status: Option<ExitStatus>) -> RpicamError {
        // Its last words may still be in the pipe, which another process may hold open.
        drop(timeout(LAST_WORDS, &mut self.stderr).await);
        let status = status.map_or_else(|| "without a status".to_owned(), |status| status.to_string());
        RpicamError::Ended { status, said: lock(&self.log).last() }
    }
}

/// The files of a shot whose metadata is complete; they are removed.
fn collect(scratch: &Scratch, jpeg: &str, dng: &str, metadata: Vec<u8>) -> Result<ShotFiles, RpicamError> {
    let take = |name: &str| {
        let bytes = scratch.read(name, MAX_FILE)?.ok_or_else(|| RpicamError::MissingFile(name.to_owned()));
        scratch.remove(name);
        bytes
    };
    Ok(ShotFiles { jpeg: take(jpeg)?, dng: take(dng)?, metadata })
}

async fn drain(mut stderr: ChildStderr, log: Arc<Mutex<StderrLog>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        lock(&log).push(bytes.get(..count).unwrap_or_default());
    }
}

fn lock(log: &Mutex<StderrLog>) -> std::sync::MutexGuard<'_, StderrLog> {
    // Nothing in it can be half changed in a way that matters.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

const TRIGGER: &[u8] = b"\n";
const END: &[u8] = b"x\n";
/// How often the folder is looked at while a shot is under way: a fraction of what a shot takes.
const POLL: Duration = Duration::from_millis(5);
/// How long the program may take to end when asked to.
const GRACE: Duration = Duration::from_secs(2);
/// How long its last words are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
const MAX_METADATA: usize = 64 * 1024;
/// 8192 x 8192 samples with a preview.
const MAX_FILE: usize = 2 * 8192 * 8192 + 4 * 1024 * 1024;

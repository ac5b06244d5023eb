//! Keeping `rpicam-still` running.
//!
//! For: one thread for the life of a sensor that starts the program, takes shots with it, and starts it
//! anew whenever it has ended, hung or given a shot that is none: after an error nothing of the old run
//! is left.
//!
//! Not for: the program itself (`process`), or what makes a shot good (`shot`).
//!
//! It is a thread of its own because Linux's parent-death signal fires when the *thread* that started a
//! program ends, not its process.
//!
//! The first restart is immediate; from the second failure in a row on, it waits with back-off. A shot
//! that is asked for meanwhile waits along, at most for its own time.

use std::sync::mpsc::Sender;
use std::time::Duration;

use birthmark_service::backoff::Backoff;
use birthmark_service::random::OsRng;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};

use super::command::CommandLine;
use super::process::Process;
use super::scratch::Scratch;
use super::shot::{self, Expected, Shot};
use super::{RpicamConfig, RpicamError};

/// Where the answer to a shot goes.
pub(super) type Reply = Sender<Result<Shot, RpicamError>>;

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Supervisor {
    scratch: Scratch,
    command: CommandLine,
    shot_timeout: Duration,
    expected: Expected,
    /// Runs that are shorter do not end a row of failures.
    steady: Duration,
    backoff: Backoff,
    failures: u32,
    program: Program,
}

#[derive(Debug)]
enum Program {
    Running(Box<Process>),
    /// Not before this time.
    Resting(Instant),
}

impl Supervisor {
    pub(super) fn new(config: &RpicamConfig, command: CommandLine, scratch: Scratch) -> Self {
        Self {
            scratch,
            command,
            shot_timeout: config.shot_timeout,
            expected: Expected { size: config.size, cfa: config.cfa, last: None },
            steady: config.restart_max,
            backoff: Backoff::new(config.restart_base, config.restart_max),
            failures: 0,
            program: Program::Resting(Instant::now()),
        }
    }

    /// Works until nobody asks any more. Then the program has ended.
    pub(super) async fn run(mut self, mut shots: Receiver<Reply>) {
        loop {
            let happened = match &mut self.program {
                Program::Running(process) => tokio::select! {
                    reply = shots.recv() => Happened::Asked(reply),
                    error = process.wait() => Happened::Ended(error),
                },
                Program::Resting(until) => tokio::select! {
                    reply = shots.recv() => Happened::Asked(reply),
                    () = sleep_until(*until) => Happened::Rested,
                },
            };
            match happened {
                Happened::Asked(Some(reply)) => {
                    let shot = self.shoot().await;
                    if let Err(error) = &shot {
                        self.failed(error).await;
                    }
                    // Who has stopped waiting needs no answer.
                    drop(reply.send(shot));
                }
                Happened::Asked(None) => break,
                Happened::Ended(error) => self.failed(&error).await,
                Happened::Rested => {
                    if let Err(error) = self.start() {
                        self.failed(&error).await;
                    }
                }
            }
        }
        if let Program::Running(process) = self.program {
            process.end().await;
        }
    }

    async fn shoot(&mut self) -> Result<Shot, RpicamError> {
        let deadline = Instant::now() + self.shot_timeout;
        if let Program::Resting(until) = self.program {
            if until > deadline {
                return Err(RpicamError::Resting { failures: self.failures });
            }
            sleep_until(until).await;
        }
        let files = self.start()?.shoot(deadline).await?;
        let shot = shot::check(files, self.expected)?;
        self.expected.last = Some(shot.metadata.timestamp);
        // What the first good shot says of the mosaic holds for all: it is soldered.
        self.expected.cfa = Some(shot.raw.format().cfa);
        self.failures = 0;
        self.backoff.reset();
        Ok(shot)
    }

    /// The running program, started if need be.
    fn start(&mut self) -> Result<Ready<'_>, RpicamError> {
        if let Program::Resting(_) = self.program {
            self.program = Program::Running(Box::new(Process::start(&self.command, &self.scratch)?));
        }
        match &mut self.program {
            Program::Running(process) => Ok(Ready { process, scratch: &self.scratch }),
            Program::Resting(_) => Err(RpicamError::Resting { failures: self.failures }),
        }
    }

    /// Ends what is left of the program, and decides when to start it again.
    async fn failed(&mut self, error: &RpicamError) {
        let now = Instant::now();
        if let Program::Running(process) = std::mem::replace(&mut self.program, Program::Resting(now)) {
            if process.age() > self.steady {
                self.failures = 0;
                self.backoff.reset();
            }
            process.kill().await;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = if self.failures == 1 { Duration::ZERO } else { self.backoff.next(&mut OsRng) };
        tracing::warn!(%error, failures = self.failures, ?pause, "camera program is started again");
        self.program = Program::Resting(now + pause);
    }
}

enum Happened {
    Asked(Option<Reply>),
    Ended(RpicamError),
    Rested,
}

/// A running program and its folder.
struct Ready<'a> {
    process: &'a mut Process,
    scratch: &'a Scratch,
}

impl Ready<'_> {
    async fn shoot(self, deadline: Instant) -> Result<shot::ShotFiles, RpicamError> {
        self.process.shoot(self.scratch, deadline).await
    }
}

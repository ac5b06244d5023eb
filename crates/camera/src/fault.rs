//! Places at which a test lets the process die as by a power cut.
//!
//! For: showing that nothing is lost whichever step was the last. With the feature `fault-points` a process that
//! finds the name of a point in `BIRTHMARK_DIE_AT` kills itself there with SIGKILL. Not for: users; without the
//! feature, which no program that is shipped has, the calls are empty.

#[cfg(feature = "fault-points")]
mod live {
    use std::path::Path;

    use rustix::process::{Signal, getpid, kill_process};

    /// Dies here if it is to.
    pub(crate) fn reached(point: &str) {
        if std::env::var("BIRTHMARK_DIE_AT").is_ok_and(|wanted| wanted == point) {
            // If this does not work, the test sees that the process has lived.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// A step of writing a file; the point's name begins with the file's ending.
    pub(crate) fn reached_with(path: &Path, step: &str) {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        reached(&format!("{ending} {step}"));
    }
}

#[cfg(not(feature = "fault-points"))]
mod dead {
    use std::path::Path;

    pub(crate) const fn reached(_: &str) {}

    pub(crate) const fn reached_with(_: &Path, _: &str) {}
}

#[cfg(not(feature = "fault-points"))]
pub(crate) use dead::{reached, reached_with};
#[cfg(feature = "fault-points")]
pub(crate) use live::{reached, reached_with};

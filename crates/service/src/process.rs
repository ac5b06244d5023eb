//! What the system lets this process do, and others do to it.
//!
//! For: the binary, once at its start. Not for: limits that we set to clients (`server::Limits`).

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Raises the limit on open files to the hard limit and returns what is in force; `None` is unlimited.
///
/// Many systems start processes with 1024, kept low for programs that use `select`. A server with a
/// thousand connections would have none left for its stores.
pub fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on open files");
            current
        }
    }
}

/// Has the system write no memory of this process to a file when it crashes, and lets no other process of
/// the same user look into it. For processes that hold keys.
pub fn forbid_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot forbid core dumps; they would hold this process's keys");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_that_holds_keys_is_not_dumped() {
        forbid_core_dumps();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn limit_on_open_files_reaches_the_hard_limit() {
        let limit = raise_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((limit, current), (maximum, maximum));
    }
}

//! The limits that the system sets to this process.
//!
//! For: the binary, once at its start. Not for: limits that we set to clients (`server::Limits`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_on_open_files_reaches_the_hard_limit() {
        let limit = raise_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((limit, current), (maximum, maximum));
    }
}

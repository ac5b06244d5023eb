//! Where a secret goes that is handed out once: a new file, or standard output.
//!
//! For: making sure of the place before the secret is made, and saying so if it was lost all the same. Not
//! for: files that are written again and again (`birthmark_service::secret_file`).

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use birthmark_service::secret_file::{self, Reserved};

/// A place that a secret can be written to.
#[derive(Debug)]
pub(crate) enum Outlet {
    Stdout,
    File(Reserved),
}

impl Outlet {
    /// Standard output, or a file of mode 0600 that does not exist yet and can be made.
    pub(crate) fn prepare(out: Option<&Path>) -> anyhow::Result<Self> {
        let Some(out) = out else { return Ok(Self::Stdout) };
        if out.symlink_metadata().is_ok() {
            bail!("{} exists already, and is not written over", out.display());
        }
        let reserved = secret_file::reserve(out).with_context(|| format!("cannot write to {}", out.display()))?;
        Ok(Self::File(reserved))
    }

    /// Writes the secret. `lost` says what to do if that fails, for nobody has it then.
    pub(crate) fn hand_over(self, secret: &str, lost: &str) -> anyhow::Result<()> {
        match self {
            Self::Stdout => print(secret).context("standard output").context(lost.to_owned()),
            Self::File(reserved) => reserved.fill(secret.as_bytes()).context(lost.to_owned()),
        }
    }
}

fn print(secret: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{secret}")?;
    out.flush()
}

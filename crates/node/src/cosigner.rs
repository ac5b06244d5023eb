//! The rule under which a validator signs a tree: only one that extends what it signed last.
//!
//! For: [`Cosigner::sign`], the only place where checkpoints are signed.
//!
//! Not for: collecting a quorum (`committee`) or publishing (`publisher`).
//!
//! `cosign.state` remembers what was signed last, so that not even a restored backup of the ledger
//! makes this validator vouch for two histories. It is created with the network at size 0; if it
//! is missing, or behind the newest checkpoint in the node's own store, nothing is signed.
//!
//! `docs/PROTOCOL.md` section 8. The file is text:
//! ```text
//! birthmark/cosign-state/v1
//! <size>
//! <root in base64>
//! ```

use std::path::{Path, PathBuf};

use birthmark_core::checkpoint::{Checkpoint, CheckpointError};
use birthmark_core::merkle::{EMPTY_ROOT, TreeHash};
use birthmark_core::note::{KeyName, NoteSignature, NoteSigner};
use birthmark_core::time::UnixSeconds;
use birthmark_ledger::{Head, Ledger, LedgerError};
use birthmark_service::secret_file::{self, FileMode, SecretFileError};

/// Why a checkpoint was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CosignerError {
    /// The state cannot be read or written.
    #[error("{path}: {source}", path = STATE_FILE)]
    State {
        /// What went wrong.
        #[from]
        source: SecretFileError,
    },
    /// The state is not in its format.
    #[error("cosign.state is damaged; without it this validator must not sign again")]
    Damaged,
    /// The state is older than what this node has published.
    #[error(
        "cosign.state stands at size {state}, but this node has published a checkpoint of size {published}: it was lost or restored, and this validator must not sign again"
    )]
    Behind {
        /// Size in the state.
        state: u64,
        /// Size of the newest checkpoint in the store.
        published: u64,
    },
    /// The tree does not extend the one signed last.
    #[error("the first {0} leaves of the log do not give the root that was signed before")]
    Forked(u64),
    /// The checkpoint cannot be encoded or signed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Signs one validator's checkpoints.
#[derive(Debug)]
pub(crate) struct Cosigner {
    path: PathBuf,
    last: (u64, TreeHash),
    log: NoteSigner,
    cosign: NoteSigner,
}

/// What one validator has to say about a checkpoint.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) log: NoteSignature,
    pub(crate) cosignature: NoteSignature,
}

/// Creates `cosign.state` at size 0, together with a new network's keys. Never overwrites.
pub fn create_state(data_dir: &Path) -> Result<(), SecretFileError> {
    secret_file::create(&data_dir.join(STATE_FILE), encode((0, EMPTY_ROOT)).as_bytes())
}

/// Size and root of the tree that was signed last.
pub(crate) fn last_signed(data_dir: &Path) -> Result<(u64, TreeHash), CosignerError> {
    let bytes = secret_file::read(&data_dir.join(STATE_FILE), MAX_STATE)?;
    std::str::from_utf8(&bytes).ok().and_then(decode).ok_or(CosignerError::Damaged)
}

impl Cosigner {
    /// Reads the state. `published` is the size of the newest checkpoint in the node's own store.
    pub(crate) fn open(
        data_dir: &Path,
        log: NoteSigner,
        cosign: NoteSigner,
        published: u64,
    ) -> Result<Self, CosignerError> {
        let path = data_dir.join(STATE_FILE);
        let last = last_signed(data_dir)?;
        if last.0 < published {
            return Err(CosignerError::Behind { state: last.0, published });
        }
        Ok(Self { path, last, log, cosign })
    }

    /// Signs the log at `head`, if it extends what was signed last, and before that at `earlier`: the ends of
    /// the blocks that were applied together with the head's, rising. So validators that apply in different
    /// groups sign the same trees. Nothing while the log is still shorter than what was signed.
    ///
    /// All trees are prefixes of the one at `head`, whose size and root are durable before any signature
    /// leaves.
    pub(crate) fn sign(
        &mut self,
        ledger: &Ledger,
        head: &Head,
        earlier: &[u64],
        now: UnixSeconds,
    ) -> Result<Vec<Signed>, CosignerError> {
        let (size, root) = self.last;
        if head.size < size {
            return Ok(Vec::new());
        }
        if ledger.root(size)? != root {
            return Err(CosignerError::Forked(size));
        }
        if (head.size, head.root) != self.last {
            let next = (head.size, head.root);
            secret_file::replace(&self.path, encode(next).as_bytes(), FileMode::Secret)?;
            self.last = next;
        }
        let between = earlier.iter().copied().filter(|end| size < *end && *end < head.size);
        between
            .map(|end| Ok((end, ledger.root(end)?)))
            .chain([Ok((head.size, head.root))])
            .map(|tree: Result<_, CosignerError>| self.signed(ledger.network().origin(), tree?, now))
            .collect()
    }

    fn signed(
        &self,
        origin: &KeyName,
        (size, root): (u64, TreeHash),
        now: UnixSeconds,
    ) -> Result<Signed, CosignerError> {
        let checkpoint = Checkpoint { origin: origin.clone(), size, root };
        Ok(Signed {
            log: checkpoint.log_signature(&self.log)?,
            cosignature: checkpoint.cosign(&self.cosign, now)?,
            checkpoint,
        })
    }
}

fn encode((size, root): (u64, TreeHash)) -> String {
    format!("{HEADER}\n{size}\n{root}\n")
}

fn decode(text: &str) -> Option<(u64, TreeHash)> {
    let mut lines = text.strip_prefix(HEADER)?.strip_prefix('\n')?.split('\n');
    let (size, root) = (lines.next()?.parse().ok()?, TreeHash::from_base64(lines.next()?).ok()?);
    // One text for one state: anything else in the file is damage.
    (encode((size, root)) == text).then_some((size, root))
}

pub(crate) const STATE_FILE: &str = "cosign.state";
const HEADER: &str = "birthmark/cosign-state/v1";
const MAX_STATE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_round_trips_and_damage_is_seen() {
        let state = (7, TreeHash::from_bytes([9; 32]));
        let text = encode(state);
        assert_eq!(decode(&text), Some(state));
        let bads = [
            String::new(),
            format!(" {text}"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace('7', "07"),
        ];
        for bad in bads {
            assert_eq!(decode(&bad), None, "{bad:?}");
        }
    }
}

//! Sealing for a photograph, and the newer network file that a token may have to wait for.
//!
//! For: `upload`. Not for: which verdict asks for another token (`verdict`), or which network file is newer
//! (`device`).
//!
//! `docs/PROTOCOL.md` sections 5 and 6: an authority whose endorsement key has changed answers `rekey`. The
//! new key comes from the network file and from nowhere else; the aggregator may hand that file on, since it
//! is signed and is taken only if it continues the one that the camera has.

use std::sync::Arc;

use birthmark_core::body::EntriesError;
use birthmark_core::network::{EndorsementKeyId, MAX_FILE_LEN};
use birthmark_service::client::{ClientOptions, HttpClient};
use rand_core::CryptoRng;

use super::attempt::no_answer;
use super::{Uploader, request};
use crate::device::{NetworkFile, RenewalError, SealError, Sealed};
use crate::queue::PhotoHashes;

/// Which number the next token gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// The one that follows.
    GoOn,
    /// One far beyond: those that follow were used already.
    Skip,
}

/// Why there is no token. Shown, it is for a person.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSealed {
    /// The photograph's hashes make no body: nor will they later.
    #[error("the photograph cannot be submitted: {0}")]
    Body(#[from] EntriesError),
    /// It may be mended.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The work did not end.
    #[error("no token was sealed: {0}")]
    Aborted(#[from] tokio::task::JoinError),
}

impl<R: CryptoRng + Send + 'static> Uploader<R> {
    /// A new token for these hashes.
    pub(super) async fn seal(&self, hashes: &PhotoHashes, numbers: Numbers) -> Result<Sealed, NotSealed> {
        match self.seal_once(hashes, numbers).await {
            // A newer network file may have what this one lacks.
            Err(NotSealed::Seal(SealError::Missing(missing))) => match self.renew_network(None).await {
                Ok(()) => self.seal_once(hashes, Numbers::GoOn).await,
                Err(_) => Err(SealError::Missing(missing).into()),
            },
            sealed => sealed,
        }
    }

    async fn seal_once(&self, hashes: &PhotoHashes, numbers: Numbers) -> Result<Sealed, NotSealed> {
        let sealer = Arc::clone(&self.settings.sealer);
        let body = request::body(&sealer.credentials().authority().authority_id, hashes)?;
        let seal = move || {
            if numbers == Numbers::Skip {
                sealer.skip_numbers()?;
            }
            sealer.seal_for(&body)
        };
        // RSA and the disk: not on a thread that others wait for.
        Ok(tokio::task::spawn_blocking(seal).await??)
    }

    /// Sees to it that the next token is not blinded for the key `used`, or says why it would be.
    pub(super) async fn renew_network(&self, used: Option<EndorsementKeyId>) -> Result<(), String> {
        let sealer = &self.settings.sealer;
        let is_renewed = || {
            let next = sealer.endorsement_key();
            sealer.network_file().is_none() || (next.is_some() && next != used)
        };
        // One at a time: what the first one fetches serves the others.
        let _first = self.renewal.lock().await;
        if is_renewed() {
            return Ok(());
        }
        let reread = self.with_network(NetworkFile::reread).await;
        if is_renewed() {
            return Ok(());
        }
        let origin = self.aggregators.current().client.origin();
        let offered = match self.offered_network().await {
            Ok(offered) => offered,
            Err(error) => {
                return Err(format!("the authority's key has changed, and no newer network file came: {error}"));
            }
        };
        let renewed = self.with_network(move |file| file.renew(&offered).map(drop)).await;
        match (renewed, reread) {
            _ if is_renewed() => Ok(()),
            (Err(error), _) => {
                Err(format!("the authority's key has changed, and {origin} gave no newer network file: {error}"))
            }
            (Ok(()), Err(error)) => Err(format!("the authority's key has changed: {error}")),
            (Ok(()), Ok(())) => Err(format!(
                "the authority's key has changed, and the network file that {origin} gives does not say so yet"
            )),
        }
    }

    /// The network file that the aggregator hands on; it may hand on none (`404`).
    async fn offered_network(&self) -> Result<Vec<u8>, String> {
        let options = ClientOptions { max_response: MAX_FILE_LEN, ..self.settings.options.client.clone() };
        let current = self.aggregators.current();
        let client = HttpClient::new(&current.url, &options).map_err(|error| error.to_string())?;
        match tokio::time::timeout(self.settings.options.answer_time, client.get_bytes("/network.json")).await {
            Ok(Ok(answer)) => Ok(answer.body.into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(no_answer(current)),
        }
    }

    /// Works with the network file on a thread for blocking work.
    async fn with_network<F>(&self, work: F) -> Result<(), String>
    where
        F: FnOnce(&NetworkFile) -> Result<(), RenewalError> + Send + 'static,
    {
        let sealer = Arc::clone(&self.settings.sealer);
        let work = move || sealer.network_file().map_or(Ok(()), work);
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

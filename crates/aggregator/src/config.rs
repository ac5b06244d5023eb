//! What an aggregator is told at its start, and why it may refuse to start.
//!
//! For: the values as the command line has gathered them. Not for: reading flags, environment or files
//! (the binary), or the network file's own checks (`birthmark_core::network`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::batch::MAX_BATCH;
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_core::network::Network;
use birthmark_service::auth::AuthError;
use birthmark_service::client::{BearerToken, ClientSetupError};
use birthmark_service::lock::LockError;
use birthmark_service::peer::TrustedProxies;
use birthmark_service::rate_limit::Quota;
use birthmark_service::secret_file::SecretFileError;
use bytes::Bytes;

use crate::retention::Retention;
use crate::store::{StoreError, StoreOpenError};

/// How an aggregator is run.
#[derive(Clone)]
pub struct AggregatorConfig {
    /// Holds `signing.key`, the folder's lock and, unless there is a `database_url`, `aggregator.db` with
    /// `token.keys`.
    pub data_dir: PathBuf,
    /// PostgreSQL, for several aggregators: `postgresql://user:password@host/database`. None for SQLite.
    pub database_url: Option<String>,
    /// Of several aggregators, one that has given no sign of life for so long is taken for dead.
    pub lease: Duration,
    /// The network that it serves.
    pub network: Arc<Network>,
    /// The file that `network` was read from, served as `/network.json`.
    pub network_file: Bytes,
    /// Its own name in the network file.
    pub submitter: SubmitterName,
    /// Where each authority is asked. Submissions of others are refused.
    pub sma: Vec<SmaConfig>,
    /// Origins of registry nodes, `http://host:port`, one or more. The first that answers is used until it
    /// fails.
    pub node_urls: Vec<String>,
    /// The credential for the nodes.
    pub node_bearer: Option<BearerToken>,
    /// Validated submissions that are released together at least, 1 to 256.
    pub mix_min: usize,
    /// After which fewer are released too; zero releases at once.
    pub mix_delay: Duration,
    /// Requests that may wait for their submission's end at one time.
    pub max_waiters: usize,
    /// Submissions that may be unfinished at one time, from all sources together.
    pub max_unfinished: u64,
    /// Submissions that one client may send in a span of time; none for as many as it likes.
    pub rate_limit: Option<Quota>,
    /// Look-ups that one client may make in a span of time: verification and receipts; none for as many as it likes.
    pub lookup_limit: Option<Quota>,
    /// The file of credentials: limits of their own, and software that may register edits. None are needed else.
    pub credentials: Option<PathBuf>,
    /// Proxies whose word about a client's address is believed.
    pub trusted_proxies: TrustedProxies,
    /// How long ended submissions are kept.
    pub retention: Retention,
    /// Batches under way at one time, to each authority and to the node.
    pub in_flight: usize,
    /// The first delay after an error; it doubles from there.
    pub retry_base: Duration,
    /// The longest delay after an error.
    pub retry_max: Duration,
    /// For one call to an authority or one look-up at the node, from connecting to the answer's end.
    pub call_timeout: Duration,
}

/// What a client may submit unless it is configured otherwise.
pub const RATE_LIMIT: Quota = Quota { requests: 500, window: Duration::from_mins(10) };

/// What a client may look up unless it is configured otherwise.
pub const LOOKUP_LIMIT: Quota = Quota { requests: 6000, window: Duration::from_mins(10) };

/// Where one authority is asked.
#[derive(Clone, Debug)]
pub struct SmaConfig {
    /// Its name in the network file.
    pub authority: AuthorityId,
    /// `http://host:port`.
    pub url: String,
    /// The credential for it.
    pub bearer: Option<BearerToken>,
}

/// Without the database's URL, which may hold a password.
impl fmt::Debug for AggregatorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatorConfig")
            .field("data_dir", &self.data_dir)
            .field("submitter", &self.submitter)
            .field("sma", &self.sma)
            .field("node_urls", &self.node_urls)
            .finish_non_exhaustive()
    }
}

impl AggregatorConfig {
    /// The protocol's defaults around what has none.
    pub const fn new(
        data_dir: PathBuf,
        network: Arc<Network>,
        network_file: Bytes,
        submitter: SubmitterName,
        sma: Vec<SmaConfig>,
        node_urls: Vec<String>,
    ) -> Self {
        Self {
            data_dir,
            database_url: None,
            lease: Duration::from_secs(15),
            network,
            network_file,
            submitter,
            sma,
            node_urls,
            node_bearer: None,
            mix_min: 16,
            mix_delay: Duration::from_secs(20),
            max_waiters: 1024,
            max_unfinished: 250_000,
            rate_limit: Some(RATE_LIMIT),
            lookup_limit: Some(LOOKUP_LIMIT),
            credentials: None,
            trusted_proxies: TrustedProxies::none(),
            retention: Retention { days: 90 },
            in_flight: 4,
            retry_base: Duration::from_millis(100),
            retry_max: Duration::from_secs(15),
            call_timeout: Duration::from_secs(10),
        }
    }

    /// The checks that need nothing but the configuration itself.
    pub(crate) fn check(&self) -> Result<(), AggregatorError> {
        if self.mix_min == 0 || self.mix_min > MAX_BATCH {
            return Err(AggregatorError::MixMin(self.mix_min));
        }
        if self.in_flight == 0 {
            return Err(AggregatorError::InFlight);
        }
        if self.node_urls.is_empty() {
            return Err(AggregatorError::NoNode);
        }
        if self.sma.is_empty() {
            return Err(AggregatorError::NoAuthority);
        }
        for (at, sma) in self.sma.iter().enumerate() {
            if self.network.authority_by_id(&sma.authority).is_none() {
                return Err(AggregatorError::UnknownAuthority(sma.authority.clone()));
            }
            if self.sma.iter().take(at).any(|earlier| earlier.authority == sma.authority) {
                return Err(AggregatorError::AuthorityTwice(sma.authority.clone()));
            }
        }
        Ok(())
    }
}

/// Why an aggregator does not start. Each is the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum AggregatorError {
    /// `mix_min` is no size of a batch.
    #[error("mix_min must be 1 to {MAX_BATCH}, not {0}")]
    MixMin(usize),
    /// No batch could ever be sent.
    #[error("in_flight must be at least 1")]
    InFlight,
    /// Nothing could be recorded.
    #[error("no registry node is configured")]
    NoNode,
    /// Nobody could vouch for anything.
    #[error("no authority is configured")]
    NoAuthority,
    /// An authority that the network does not know.
    #[error("the network file has no authority {0}")]
    UnknownAuthority(AuthorityId),
    /// Two addresses for one authority.
    #[error("authority {0:?} is configured twice")]
    AuthorityTwice(AuthorityId),
    /// The network file does not list this aggregator.
    #[error("the network file has no submitter {0:?}")]
    UnknownSubmitter(SubmitterName),
    /// The folder is missing, not writable, or in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The signing key cannot be read.
    #[error("signing key: {0}")]
    Key(#[from] SecretFileError),
    /// The signing key's file has another length.
    #[error("signing key: {}: has {got} bytes, not 32", path.display())]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// Bytes there.
        got: usize,
    },
    /// The signing key is another's.
    #[error("signing key: {}: is not the key that the network file gives for submitter {submitter:?}", path.display())]
    KeyMismatch {
        /// The file.
        path: PathBuf,
        /// Whose key it should be.
        submitter: SubmitterName,
    },
    /// The file of credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] AuthError),
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] StoreOpenError),
    /// The database was opened but cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// An address or a token of an authority or of the node cannot be used.
    #[error("{what}: {source}")]
    Client {
        /// The authority's name, or `node`.
        what: String,
        /// What is wrong.
        source: ClientSetupError,
    },
}

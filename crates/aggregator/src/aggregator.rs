//! The aggregator as a whole: opening its folder, its router, its background work, its end.
//!
//! For: the binary, which gives it a configuration, a clock and tasks. Not for: listening on a socket
//! (`birthmark_service::server`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use axum::Router;
use birthmark_core::batch::SubmitterKey;
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_core::network::{Network, Submitter};
use birthmark_core::prefix::MAX_PAGE_LEN;
use birthmark_core::time::Clock;
use birthmark_service::auth::Authenticator;
use birthmark_service::client::{BearerToken, ClientOptions, HttpClient};
use birthmark_service::held::Places;
use birthmark_service::lock::FolderLock;
use birthmark_service::peer::TrustedProxies;
use birthmark_service::postgres::block_on;
use birthmark_service::secret_file;
use birthmark_service::shutdown::Tasks;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authority::{Authority, Endorsements, MAX_VERDICTS};
use crate::config::{AggregatorConfig, AggregatorError, LOOKUP_LIMIT, RATE_LIMIT, SmaConfig};
use crate::figures::Figures;
use crate::http::{self, Limit};
use crate::pipeline::state::Withheld;
use crate::pipeline::{Posting, Progress, Stage, StageSettings, Validation};
use crate::registry::{MAX_VERIFY, Node, Nodes, RECORD_WAIT_SECONDS, Registry};
use crate::retention::{self, Retention};
use crate::sharing::Sharing;
use crate::store::{self, Store};
use crate::waiters::Waiters;

/// The signing key's name in the data folder: the 32 secret bytes of RFC 8032, mode 0600.
///
/// Whoever has it can record bodies in this submitter's name.
pub const SIGNING_KEY_FILE: &str = "signing.key";

/// An open aggregator. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Aggregator {
    inner: Arc<Inner>,
}

/// What handlers and stages share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) submitter: SubmitterName,
    pub(crate) network_file: Bytes,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) waiters: Waiters,
    pub(crate) registry: Arc<Registry>,
    pub(crate) limit: Limit,
    pub(crate) lookups: Limit,
    /// Callers with a limit of their own, and software that may register edits.
    pub(crate) authenticator: Option<Authenticator>,
    network: Arc<Network>,
    pub(crate) proxies: TrustedProxies,
    /// Places for pages of look-ups by prefix that are passed on.
    pub(crate) pages: Arc<Places>,
    authorities: Vec<(Authority, Stage)>,
    posting: Stage,
    mixing: (usize, Duration),
    settings: StageSettings,
    retention: Retention,
    /// Writes whose outcome must be heard of even if the client has gone.
    pub(crate) intakes: TaskTracker,
    /// Nobody waits for a submission's end any longer.
    pub(crate) stopping: CancellationToken,
    _lock: FolderLock,
}

impl Aggregator {
    /// Locks the folder, reads the key, opens the database. Blocks; nothing runs yet.
    pub fn open(config: AggregatorConfig, clock: Arc<dyn Clock>) -> Result<Self, AggregatorError> {
        config.check()?;
        let lock = FolderLock::acquire(&config.data_dir)?;
        let registry = Arc::new(registry(&config)?);
        let unblinding = Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from)));
        let authorities =
            config.sma.iter().map(|sma| authority(sma, &config, &unblinding)).collect::<Result<Vec<_>, _>>()?;
        let store = store::open(&config)?;
        let backlog = block_on(store.backlog())?;
        if backlog.pending + backlog.validated > 0 {
            let (pending, validated) = (backlog.pending, backlog.validated);
            tracing::info!(pending, validated, "taking up unfinished submissions");
        }
        for name in block_on(store.awaited_authorities())? {
            if !authorities.iter().any(|(authority, _)| authority.id().as_str() == name) {
                tracing::warn!(authority = name, "submissions wait for an authority that is no longer configured");
            }
        }
        let settings =
            StageSettings { in_flight: config.in_flight, retry_base: config.retry_base, retry_max: config.retry_max };
        Ok(Self {
            inner: Arc::new(Inner {
                clock,
                submitter: config.submitter,
                network_file: config.network_file,
                store,
                figures: Arc::new(Figures::new(backlog, config.max_unfinished)),
                waiters: Waiters::new(config.max_waiters),
                registry,
                limit: Limit::new("default", config.rate_limit, RATE_LIMIT),
                lookups: Limit::new("lookups", config.lookup_limit, LOOKUP_LIMIT),
                authenticator: config.credentials.map(Authenticator::tokens).transpose()?,
                network: config.network,
                proxies: config.trusted_proxies,
                pages: Places::new(MAX_PAGES, MAX_PAGES_OF_ONE),
                authorities,
                posting: Stage::new("registry node"),
                mixing: (config.mix_min, config.mix_delay),
                settings,
                retention: config.retention,
                intakes: TaskTracker::new(),
                stopping: CancellationToken::new(),
                _lock: lock,
            }),
        })
    }

    /// All of its HTTP interface.
    pub fn router(&self) -> Router {
        http::router(Arc::clone(&self.inner))
    }

    /// Starts the stages, which take up what is unfinished and go on until the tasks are cancelled.
    pub fn run(&self, tasks: &Tasks) {
        let inner = &self.inner;
        let progress = Progress {
            store: Arc::clone(&inner.store),
            figures: Arc::clone(&inner.figures),
            waiters: inner.waiters.clone(),
            poster: Arc::clone(&inner.posting.wake),
        };
        for (authority, stage) in &inner.authorities {
            let work = Validation::new(authority.clone(), progress.clone(), stage, inner.settings);
            tasks.spawn("validation", stage.clone().run(work, inner.settings, tasks.token().clone()));
        }
        let work = Posting::new(Arc::clone(&inner.registry), progress, inner.mixing, inner.settings);
        tasks.spawn("posting", inner.posting.clone().run(work, inner.settings, tasks.token().clone()));
        if let Some(every) = inner.store.lease() {
            let wake = inner.stages().map(|stage| Arc::clone(&stage.wake)).collect();
            let sharing = Sharing { store: Arc::clone(&inner.store), figures: Arc::clone(&inner.figures), wake };
            tasks.spawn("sharing", sharing.run(every, tasks.token().clone()));
        }
        let (store, clock) = (Arc::clone(&inner.store), Arc::clone(&inner.clock));
        tasks.spawn("retention", retention::run(store, clock, inner.retention, tasks.token().clone()));
        let (stop, stopping) = (tasks.token().clone(), inner.stopping.clone());
        tasks.spawn("end of waiting", async move {
            stop.cancelled().await;
            stopping.cancel();
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Finishes the writes that are under way and closes the database. To be called when the server and
    /// the tasks have ended; submissions that come later are answered `503`.
    pub async fn close(&self) {
        self.inner.stopping.cancel();
        self.inner.intakes.close();
        self.inner.intakes.wait().await;
        self.inner.store.close().await;
    }
}

impl Inner {
    /// The stage of an authority that submissions may name.
    pub(crate) fn stage_of(&self, id: &AuthorityId) -> Option<&Stage> {
        self.authorities.iter().find(|(authority, _)| authority.id() == id).map(|(_, stage)| stage)
    }

    /// The stage that has bodies recorded.
    pub(crate) const fn posting(&self) -> &Stage {
        &self.posting
    }

    /// Whether the network file lists it.
    pub(crate) fn knows_authority(&self, id: &AuthorityId) -> bool {
        self.network.authority_by_id(id).is_some()
    }

    fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.authorities.iter().map(|(_, stage)| stage).chain([&self.posting])
    }

    /// Names of the authorities that are asked.
    pub(crate) fn authority_names(&self) -> Vec<String> {
        self.authorities.iter().map(|(authority, _)| authority.id().as_str().to_owned()).collect()
    }

    /// Counterparties whose last answer was an error, or whose answers leave rows waiting.
    pub(crate) fn troubled(&self) -> Vec<String> {
        let troubled = self.stages().filter(|stage| stage.troubled.load(Ordering::Relaxed) || stage.held.any());
        troubled.map(|stage| stage.name.to_string()).collect()
    }

    /// Rows that were passed and wait all the same: on whose account, why, and how many.
    pub(crate) fn held(&self) -> Vec<(String, Withheld, usize)> {
        let stages = self.authorities.iter().map(|(_, stage)| stage);
        let held = stages.flat_map(|stage| {
            stage.held.all().map(|(cause, submissions)| (stage.name.to_string(), cause, submissions))
        });
        held.filter(|(_, _, submissions)| *submissions > 0).collect()
    }
}

fn authority(
    sma: &SmaConfig,
    config: &AggregatorConfig,
    unblinding: &Arc<Semaphore>,
) -> Result<(Authority, Stage), AggregatorError> {
    let entry = config.network.authority_by_id(&sma.authority);
    let entry = entry.ok_or_else(|| AggregatorError::UnknownAuthority(sma.authority.clone()))?;
    let endorsements = Endorsements::new(Arc::clone(&config.network), entry, Arc::clone(unblinding));
    let options = options(config.call_timeout, MAX_VERDICTS, sma.bearer.clone());
    let client = client(sma.authority.as_str(), &sma.url, &options)?;
    Ok((Authority::new(sma.authority.clone(), client, endorsements), Stage::new(sma.authority.as_str())))
}

fn registry(config: &AggregatorConfig) -> Result<Registry, AggregatorError> {
    let (submitter, key) = signing_key(&config.data_dir, &config.network, &config.submitter)?;
    let wait = Duration::from_secs(RECORD_WAIT_SECONDS) + config.call_timeout;
    let posting = options(wait, MAX_VERIFY, config.node_bearer.clone());
    let reading = options(config.call_timeout, MAX_VERIFY, config.node_bearer.clone());
    let paging = options(config.call_timeout, MAX_PAGE_LEN, config.node_bearer.clone());
    let node = |url: &String| -> Result<Node, AggregatorError> {
        let client = |options| client("node", url, options);
        let (posting, reading, paging) = (client(&posting)?, client(&reading)?, client(&paging)?);
        Ok(Node { url: url.clone(), posting, reading, paging })
    };
    let nodes = config.node_urls.iter().map(node).collect::<Result<_, _>>()?;
    Ok(Registry { network: config.network.network_id(), submitter: submitter.number, key, nodes: Nodes::new(nodes) })
}

/// Reads the key and checks that it is the one by which the network knows this aggregator: with another,
/// every batch would be refused, long after its submissions were accepted.
fn signing_key<'n>(
    folder: &Path,
    network: &'n Network,
    name: &SubmitterName,
) -> Result<(&'n Submitter, SubmitterKey), AggregatorError> {
    let submitter = network.submitter_by_name(name).ok_or_else(|| AggregatorError::UnknownSubmitter(name.clone()))?;
    let path = folder.join(SIGNING_KEY_FILE);
    let bytes = secret_file::read(&path, 32)?;
    let Ok(seed) = <[u8; 32]>::try_from(bytes.as_slice()) else {
        return Err(AggregatorError::KeyLength { path, got: bytes.len() });
    };
    let key = SubmitterKey::from_seed(seed);
    if key.public() == *submitter.key.as_bytes() {
        Ok((submitter, key))
    } else {
        Err(AggregatorError::KeyMismatch { path, submitter: name.clone() })
    }
}

fn client(what: &str, url: &str, options: &ClientOptions) -> Result<HttpClient, AggregatorError> {
    HttpClient::new(url, options).map_err(|source| AggregatorError::Client { what: what.to_owned(), source })
}

fn options(request_timeout: Duration, max_response: usize, bearer: Option<BearerToken>) -> ClientOptions {
    ClientOptions { request_timeout, max_response, bearer, ..ClientOptions::default() }
}

/// Pages in memory at one time: some 60 MB at worst, a quarter of that as a rule.
const MAX_PAGES: usize = 16;
/// Of these for one client, which may be slow to read them.
const MAX_PAGES_OF_ONE: usize = 2;

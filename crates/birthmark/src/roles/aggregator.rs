//! `birthmark aggregator serve`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use birthmark_aggregator::{Aggregator, AggregatorConfig, LOOKUP_LIMIT, RATE_LIMIT, Retention, SmaConfig};
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_service::client::BearerToken;
use birthmark_service::clock::SystemClock;
use birthmark_service::peer::Proxy;
use birthmark_service::rate_limit::Quota;
use birthmark_service::secret_file;
use clap::{Args, Subcommand};

use super::read_network;
use crate::runtime::block_on;
use crate::serve::ServeArgs;

/// The aggregator.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take submissions, have them validated, see them registered.
    Serve(Box<AggregatorServeArgs>),
}

/// Flags of `aggregator serve`.
#[derive(Debug, Args)]
pub(crate) struct AggregatorServeArgs {
    /// Folder with signing.key; aggregator.db is kept there too, unless there is a database URL.
    #[arg(long, default_value = "/var/lib/birthmark/aggregator", value_name = "DIR")]
    data: PathBuf,
    /// The network file.
    #[arg(long, default_value = "/etc/birthmark/network.json", value_name = "FILE")]
    network: PathBuf,
    /// This aggregator's name among the network's submitters.
    #[arg(long, env = "AGGREGATOR_NODE_ID", default_value = "aggregator_node_001", value_name = "NAME")]
    submitter: SubmitterName,
    /// The authority that tokens are validated by.
    #[arg(long, default_value = "SIMULATED_MFG_001", value_name = "NAME")]
    authority_id: AuthorityId,
    /// Where that authority is.
    #[arg(long, env = "SMA_URL", value_name = "URL")]
    sma_url: Option<String>,
    /// The same by the authority's validation address; only its origin is used.
    #[arg(long, env = "SMA_VALIDATION_ENDPOINT", value_name = "URL", hide = true)]
    sma_validation_endpoint: Option<String>,
    /// File that holds the bearer token for the authority.
    #[arg(long, value_name = "FILE")]
    sma_token: Option<PathBuf>,
    /// Where the registry's nodes are; repeatable, or with commas. The next is used when one fails.
    #[arg(long, env = "BLOCKCHAIN_URL", value_name = "URL", value_delimiter = ',')]
    node_url: Vec<String>,
    /// The same by the node's submission address; only its origin is used.
    #[arg(long, env = "BLOCKCHAIN_ENDPOINT", value_name = "URL", hide = true)]
    blockchain_endpoint: Option<String>,
    /// Validated submissions that are released together, shuffled.
    #[arg(long, default_value_t = 16, value_name = "N")]
    mix_min: usize,
    /// Seconds after which fewer are released; 0 releases at once.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    mix_delay: u64,
    /// PostgreSQL, for several aggregators: `postgresql://user:password@host/database`. Without it, SQLite in the
    /// data folder.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Days for which receipts of ended submissions are kept. Unfinished ones are never forgotten.
    #[arg(long, default_value_t = Retention::default().days, value_name = "DAYS",
          value_parser = clap::value_parser!(u32).range(1..))]
    retain_days: u32,
    /// Submissions that one address may send in 10 minutes; 0 for as many as it likes. Of IPv6, a /64 is one.
    #[arg(long, default_value_t = RATE_LIMIT.requests, value_name = "N")]
    rate_limit: u32,
    /// Look-ups that one address may make in 10 minutes: verification and receipts; 0 for as many as it likes.
    #[arg(long, default_value_t = LOOKUP_LIMIT.requests, value_name = "N")]
    lookup_limit: u32,
    /// File of bearer tokens, made by `birthmark credential`: of clients with limits of their own, and of software
    /// that may register edits. Others need none.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Believe `X-Forwarded-For` of this proxy: an address, or a network such as 10.0.0.0/8. May be repeated.
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Vec<Proxy>,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => block_on(serve(*args)),
    }
}

async fn serve(args: AggregatorServeArgs) -> anyhow::Result<()> {
    let listening = args.serve.bind(8545).await?;
    let (network, network_file) = read_network(&args.network)?;
    let sma_url = origin(args.sma_url, args.sma_validation_endpoint, "http://localhost:8001")?;
    let node_urls = if args.node_url.is_empty() {
        vec![origin(None, args.blockchain_endpoint, "http://localhost:8546")?]
    } else {
        args.node_url
    };
    let bearer = args.sma_token.map(|file| secret_file::read(&file, MAX_TOKEN)).transpose()?;
    let bearer = bearer
        .map(|token| std::str::from_utf8(&token).map(|token| BearerToken::new(token.trim())))
        .transpose()
        .context("the authority's token is not text")?;
    let sma = SmaConfig { authority: args.authority_id, url: sma_url, bearer };
    let mut config = AggregatorConfig::new(args.data, network, network_file, args.submitter, vec![sma], node_urls);
    config.database_url = args.database_url;
    config.rate_limit = (args.rate_limit > 0).then_some(Quota { requests: args.rate_limit, ..RATE_LIMIT });
    config.lookup_limit = (args.lookup_limit > 0).then_some(Quota { requests: args.lookup_limit, ..LOOKUP_LIMIT });
    config.credentials = args.credentials;
    config.trusted_proxies = args.trusted_proxy.into_iter().collect();
    config.retention = Retention { days: args.retain_days };
    config.mix_min = args.mix_min;
    config.mix_delay = Duration::from_secs(args.mix_delay);
    let aggregator = tokio::task::spawn_blocking(move || Aggregator::open(config, Arc::new(SystemClock))).await??;
    aggregator.run(&listening.tasks);
    let served = listening.serve("aggregator", aggregator.router()).await;
    aggregator.close().await;
    served
}

/// The address itself, or the origin of the seed's full endpoint.
fn origin(url: Option<String>, endpoint: Option<String>, default: &str) -> anyhow::Result<String> {
    let Some(endpoint) = endpoint.filter(|_| url.is_none()) else {
        return Ok(url.unwrap_or_else(|| default.to_owned()));
    };
    let uri: axum::http::Uri = endpoint.parse().context("an endpoint in the settings is no URL")?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => Ok(format!("{scheme}://{authority}")),
        _ => anyhow::bail!("an endpoint in the settings is no http or https URL"),
    }
}

const MAX_TOKEN: usize = 1024;

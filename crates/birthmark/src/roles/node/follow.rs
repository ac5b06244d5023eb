//! `birthmark node follow`: a node that validates nothing and answers everything.

use std::path::PathBuf;
use std::sync::Arc;

use birthmark_node::{Follower, FollowerConfig};
use clap::Args;

use crate::roles::read_network;
use crate::runtime::block_on;
use crate::serve::ServeArgs;

/// Flags of `node follow`.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// A node to fetch blocks from, validator or follower; repeatable: the next one when one fails. None is
    /// believed.
    #[arg(long = "from", value_name = "URL", required = true)]
    sources: Vec<String>,
    /// Folder for the ledger.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/birthmark/follower")]
    data: PathBuf,
    /// The network file.
    #[arg(long, value_name = "FILE", default_value = "/etc/birthmark/network.json")]
    network: PathBuf,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(super) fn follow(args: FollowArgs) -> anyhow::Result<()> {
    block_on(async {
        let listening = args.serve.bind(8546).await?;
        let (network, network_file) = read_network(&args.network)?;
        let config = FollowerConfig { data_dir: args.data, network, network_file, sources: args.sources };
        let follower = Arc::new(tokio::task::spawn_blocking(move || Follower::start(config)).await??);
        let router = follower.router();
        let stop = listening.tasks.token().clone();
        listening.tasks.spawn("following", async move { follower.run(stop).await });
        listening.serve("follower", router).await
    })
}

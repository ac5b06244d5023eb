//! `birthmark credential`: a bearer token for a caller of one of the servers.

use std::path::PathBuf;

use crate::outlet::Outlet;
use crate::terminal;

/// Flags of `credential`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's credentials file; made with mode 0600 if missing.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Who the token is for.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What its holder may do: `aggregator` or `admin` at an authority, `submitter` at a node.
    #[arg(long, value_name = "ROLE", value_parser = ["aggregator", "admin", "submitter"])]
    role: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let token = birthmark_service::auth::issue_token(&args.file, &args.name, &args.role)?;
    terminal::note("this token is shown once; the file keeps only its hash");
    let Args { file, name, .. } = args;
    let lost = format!("the token is lost; take the line of {name} out of {} and issue another", file.display());
    Outlet::Stdout.hand_over(&token, &lost)
}

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
    /// What its holder may do: `aggregator` or `admin` at an authority, `submitter` at a node, `software` (register
    /// edits) or `client` (nothing more than others, but with limits of its own) at an aggregator.
    #[arg(long, value_name = "ROLE", value_parser = ["aggregator", "admin", "submitter", "software", "client"])]
    role: String,
    /// Of `software`: the authority of the network file in whose name it registers edits.
    #[arg(long, value_name = "NAME", required_if_eq("role", "software"))]
    authority: Option<String>,
    /// At an aggregator: submissions that its holder may send in 10 minutes, 0 for as many as it likes.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// At an aggregator: look-ups that its holder may make in 10 minutes, 0 for as many as it likes.
    #[arg(long, value_name = "N")]
    lookups: Option<u32>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let numbers = [("limit", args.limit), ("lookups", args.lookups)];
    let numbers = numbers.map(|(name, value)| (name, value.map(|value| value.to_string())));
    let authority = args.authority.as_deref().map(|name| ("authority", name));
    let numbers = numbers.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let attributes: Vec<_> = authority.into_iter().chain(numbers).collect();
    let token = birthmark_service::auth::issue_token_with(&args.file, &args.name, &args.role, &attributes)?;
    terminal::note("this token is shown once; the file keeps only its hash");
    let Args { file, name, .. } = args;
    let lost = format!("the token is lost; take the line of {name} out of {} and issue another", file.display());
    Outlet::Stdout.hand_over(&token, &lost)
}

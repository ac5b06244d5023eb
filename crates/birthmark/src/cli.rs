//! What the binary understands, and which module answers for it.
//!
//! Exit codes: 0 done (or proven), 1 failed (or no record), 2 wrong usage (or a proof that does not
//! hold), 3 could not be checked or queued only. `verify`'s are in `docs/PROTOCOL.md` section 10.

use std::ffi::OsString;
use std::process::ExitCode;

use birthmark_service::logging::{self, LogFormat, Verbosity};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

#[cfg(feature = "servers")]
use crate::{bench, demo, edit, load, network, roles};
use crate::{camera, terminal, verify};

/// Proves that a photograph came from a real camera.
#[derive(Debug, Parser)]
#[command(name = "birthmark", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// How log lines on stderr look: text or json. `BIRTHMARK_LOG` sets how much (warn, info, debug).
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT", help_heading = "Logging and settings")]
    log_format: LogFormat,
    /// Read settings from this file too, NAME=value a line. Without it, `.env` here is read by the roles.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Logging and settings")]
    env_file: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system on this machine: photograph, register, verify.
    #[cfg(feature = "servers")]
    Demo(demo::Args),
    /// Check that files are the ones that cameras registered.
    Verify(verify::Args),
    /// Register a file as made from one that is on record.
    #[cfg(feature = "servers")]
    Edit(edit::Args),
    /// The camera: capture, queue, submit.
    #[command(subcommand)]
    Camera(camera::Command),
    /// The manufacturer authority: provision cameras, validate tokens.
    #[command(subcommand)]
    #[cfg(feature = "servers")]
    Sma(roles::sma::Command),
    /// The aggregator: take submissions and see them registered.
    #[command(subcommand)]
    #[cfg(feature = "servers")]
    Aggregator(roles::aggregator::Command),
    /// A registry node: order, record, prove.
    #[command(subcommand)]
    #[cfg(feature = "servers")]
    Node(roles::node::Command),
    /// A witness of other logs: sign that they have only ever grown.
    #[command(subcommand)]
    #[cfg(feature = "servers")]
    Witness(roles::witness::Command),
    /// Check a stopped node's ledger: the same as `node fsck`.
    #[cfg(feature = "servers")]
    Fsck(roles::node::upkeep::FsckArgs),
    /// Start a network, and change who runs it.
    #[command(subcommand)]
    #[cfg(feature = "servers")]
    Network(network::Command),
    /// Add a bearer token to a credentials file and print it, once.
    #[cfg(feature = "servers")]
    Credential(roles::credential::Args),
    /// Submit many captures at once and see that none is lost.
    #[cfg(feature = "servers")]
    Load(load::Args),
    /// Measure what each path costs on this machine, beside a reference.
    #[cfg(feature = "servers")]
    Bench(bench::Args),
    /// Print a completion script for a shell.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

/// Parses the command line and runs it.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Err(error) = read_env_file(&arguments) {
        terminal::complain(&error);
        return ExitCode::from(2);
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let verbosity = match cli.command {
        #[cfg(feature = "servers")]
        Command::Sma(_) | Command::Aggregator(_) | Command::Node(_) | Command::Witness(_) => Verbosity::Server,
        _ => Verbosity::Command,
    };
    if let Err(error) = logging::init(cli.log_format, verbosity) {
        terminal::complain(&error.into());
        return ExitCode::from(2);
    }
    birthmark_service::process::raise_open_files();
    // That nobody could read what a check found is "could not be checked".
    let checks = match cli.command {
        Command::Verify(_) => true,
        #[cfg(feature = "servers")]
        Command::Fsck(_) | Command::Node(roles::node::Command::Fsck(_)) => true,
        _ => false,
    };
    let unsaid = if checks { ExitCode::from(3) } else { ExitCode::FAILURE };
    terminal::settle(carry_out(cli.command), unsaid)
}

fn carry_out(command: Command) -> ExitCode {
    let outcome = match command {
        #[cfg(feature = "servers")]
        Command::Bench(args) => return bench::run(&args),
        #[cfg(feature = "servers")]
        Command::Demo(args) => return demo::run(&args),
        #[cfg(feature = "servers")]
        Command::Load(args) => return load::run(&args),
        Command::Verify(args) => return verify::run(&args),
        #[cfg(feature = "servers")]
        Command::Edit(args) => return edit::run(&args),
        Command::Camera(command) => return camera::run(&command),
        #[cfg(feature = "servers")]
        Command::Sma(command) => roles::sma::run(command),
        #[cfg(feature = "servers")]
        Command::Aggregator(command) => roles::aggregator::run(command),
        #[cfg(feature = "servers")]
        Command::Node(command) => {
            return roles::node::run(command).unwrap_or_else(|error| {
                terminal::complain(&error);
                ExitCode::FAILURE
            });
        }
        #[cfg(feature = "servers")]
        Command::Witness(command) => roles::witness::run(command),
        #[cfg(feature = "servers")]
        Command::Fsck(args) => return roles::node::upkeep::fsck(&args),
        #[cfg(feature = "servers")]
        Command::Network(command) => network::run(&command),
        #[cfg(feature = "servers")]
        Command::Credential(args) => roles::credential::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "birthmark", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Wrong usage of `verify` is "could not be checked"; a script must not take it for a bad proof.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let shown = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion if shown.is_ok() => ExitCode::SUCCESS,
        _ if role(arguments) == Some("verify") => ExitCode::from(3),
        _ => ExitCode::from(2),
    }
}

/// Settings from a file must be in the environment before the flags are read, which take their
/// defaults from it. `verify` reads none: a folder must not choose what its files are checked against.
fn read_env_file(arguments: &[OsString]) -> anyhow::Result<()> {
    let given = arguments.iter().position(|argument| argument == "--env-file").and_then(|at| arguments.get(at + 1));
    let joined = arguments.iter().filter_map(|a| a.to_str()).find_map(|a| a.strip_prefix("--env-file="));
    let is_role = matches!(role(arguments), Some("sma" | "aggregator" | "node" | "witness" | "fsck" | "camera"));
    match (given.map(OsString::as_os_str).or(joined.map(AsRef::as_ref)), is_role) {
        (Some(_), false) => anyhow::bail!("--env-file is for sma, aggregator, node, witness, fsck and camera"),
        (Some(path), true) => dotenvy::from_path(path).map_err(|cause| {
            anyhow::anyhow!("cannot read the settings in {}: {}", path.display(), without_content(&cause))
        }),
        (None, true) => match dotenvy::dotenv() {
            Err(cause) if !cause.not_found() => {
                anyhow::bail!("cannot read the settings in .env: {}", without_content(&cause))
            }
            Ok(_) | Err(_) => Ok(()),
        },
        (None, false) => Ok(()),
    }
}

/// What is wrong with a file of settings. Its lines hold passwords, so none is repeated.
fn without_content(cause: &dotenvy::Error) -> String {
    match cause {
        dotenvy::Error::LineParse(..) => "a line that is not NAME=value".to_owned(),
        dotenvy::Error::Io(cause) => cause.to_string(),
        _ => "it cannot be understood".to_owned(),
    }
}

/// The subcommand, without parsing the rest.
fn role(arguments: &[OsString]) -> Option<&str> {
    let names = [
        "demo",
        "verify",
        "edit",
        "camera",
        "sma",
        "aggregator",
        "node",
        "fsck",
        "network",
        "credential",
        "bench",
        "load",
    ];
    arguments.iter().skip(1).filter_map(|argument| argument.to_str()).find(|argument| names.contains(argument))
}

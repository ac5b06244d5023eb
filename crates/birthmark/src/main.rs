//! The command line of Birthmark: one binary, a subcommand for each role.

#[cfg(feature = "servers")]
mod bench;
mod camera;
mod cli;
#[cfg(feature = "servers")]
mod demo;
#[cfg(feature = "servers")]
mod edit;
#[cfg(feature = "servers")]
mod load;
#[cfg(feature = "servers")]
mod network;
#[cfg(feature = "servers")]
mod outlet;
#[cfg(feature = "servers")]
mod processes;
#[cfg(feature = "servers")]
mod roles;
mod runtime;
#[cfg(feature = "servers")]
mod serve;
mod terminal;
mod verify;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}

//! The command line of Birthmark: one binary, a subcommand for each role.

mod bench;
mod camera;
mod cli;
mod demo;
mod load;
mod network;
mod outlet;
mod processes;
mod roles;
mod serve;
mod terminal;
mod verify;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}

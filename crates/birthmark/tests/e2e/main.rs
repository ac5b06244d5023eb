//! The system end to end: the real binary, real processes, real files.

#![expect(clippy::tests_outside_test_module, reason = "every module here is tests")]

mod bad_input;
mod demo;
mod installation;
mod kill;
mod layering;
mod submissions;
mod verify;

//! A camera's keys in a real TPM 2.0 (swtpm), and what can go wrong with one.

mod camera;
mod keys;
mod numbers;
mod swtpm;
mod trouble;

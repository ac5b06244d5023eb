//! The manufacturer authority: provisioning and validation.

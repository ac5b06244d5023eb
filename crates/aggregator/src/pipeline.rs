//! From the durable row to its end: two stages, each woken by new work and never by a fixed interval.
//!
//! ```text
//! intake ─wake─► validate (one stage an authority) ─wake─► post ─► woken waiters
//!                   ▲ rows in state received                ▲ rows in state validated
//! ```
//! A stage reads its work from the store, so that a restart finds all of it again and nothing but what
//! is under way is in memory. What an answer means is decided in `state`, when a failed counterparty is
//! asked again in `gate` and in what portions in `size`, when a single row whose pass was of no use is in
//! `hold`, when validated rows are released in `mix`.

mod gate;
mod hold;
mod mix;
mod post;
mod progress;
mod size;
mod stage;
pub(crate) mod state;
pub(crate) mod trouble;
mod validate;

pub(crate) use self::post::Posting;
pub(crate) use self::progress::Progress;
pub(crate) use self::stage::{Stage, StageSettings};
pub(crate) use self::validate::Validation;

//! `birthmark sma keys show | rotate | revoke`: endorsement keys.

use birthmark_core::hex;
use birthmark_core::network::{AuthorityStatement, EndorsementKeyId, EndorsementKeyState};
use birthmark_sma::{KeyChangeView, KeySize};
use clap::{Args, Subcommand};

use super::desk::Place;
use super::key_size;
use crate::terminal;

/// The keys with which an authority endorses photographs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them, the oldest first. `--json` prints what is in `authority.json`.
    Show(KeysArgs),
    /// Make a new key the current one.
    ///
    /// The key before signs for 90 more days. Nobody knows the new key before it is in the network file:
    /// run `birthmark network update` next, and hand the file to nodes, then aggregators, then cameras.
    Rotate(RotateArgs),
    /// Take a key out of use, at once and for ever.
    ///
    /// For a key that somebody may have copied. What it signed before stays recorded, and verifiers say that
    /// its key was revoked. If it was the current key, rotate next; then run `birthmark network update`.
    Revoke(RevokeArgs),
}

/// Flags of `keys show`.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Flags of `keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Bits of the new key: 2048, 3072 or 4096.
    #[arg(long, default_value = "2048", value_name = "BITS", value_parser = key_size)]
    bits: KeySize,
    #[command(flatten)]
    keys: KeysArgs,
}

/// Flags of `keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Which: 16 hex digits.
    #[arg(value_name = "KEY_ID", value_parser = key_id)]
    key_id: EndorsementKeyId,
    #[command(flatten)]
    keys: KeysArgs,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show(KeysArgs { json, place }) => {
            let desk = place.open().await?;
            let statement = desk.statement().await;
            desk.close().await;
            let statement = statement?;
            if json { terminal::say(serde_json::to_string(&statement)?) } else { list(&statement) }
        }
        Command::Rotate(RotateArgs { bits, keys: KeysArgs { json, place } }) => {
            let desk = place.open().await?;
            let changed = desk.rotate_key(bits).await;
            desk.close().await;
            changed_to(&changed?, json)?;
        }
        Command::Revoke(RevokeArgs { key_id, keys: KeysArgs { json, place } }) => {
            let desk = place.open().await?;
            let changed = desk.revoke_key(key_id).await;
            desk.close().await;
            changed_to(&changed?, json)?;
        }
    }
    Ok(())
}

/// The keys as they are now, and what is left to do.
fn changed_to(changed: &KeyChangeView, json: bool) -> anyhow::Result<()> {
    if json {
        terminal::say(serde_json::to_string(changed)?);
        return Ok(());
    }
    list(&changed.authority);
    if !changed.authority.endorsement_keys.iter().any(|key| key.state == EndorsementKeyState::Current) {
        terminal::note("no key is current now, and nothing new is endorsed: birthmark sma keys rotate");
    }
    terminal::note("put the authority's authority.json into the network file: birthmark network update");
    Ok(())
}

fn list(statement: &AuthorityStatement) {
    for key in &statement.endorsement_keys {
        let state = match key.state {
            EndorsementKeyState::Current => "current",
            EndorsementKeyState::Previous => "previous",
            EndorsementKeyState::Retired => "retired",
            EndorsementKeyState::Revoked => "revoked",
        };
        terminal::say(format_args!("{}  {state}", key.key_id));
    }
}

fn key_id(text: &str) -> Result<EndorsementKeyId, String> {
    let id = hex::decode_array(text).map_err(|error| error.to_string())?;
    Ok(EndorsementKeyId::from_bytes(id))
}

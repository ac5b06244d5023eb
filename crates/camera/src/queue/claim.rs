//! Holding rows, so that two processes do not submit one photograph at the same time.
//!
//! For: `queue`. A hold is a courtesy, not a guard: both would repeat the same stored token, which the
//! aggregator takes for one submission, and `row::apply` lets only the first change anything.
//!
//! A hold ends when it is given back, when its time is over, or when its holder is dead.

use std::fmt;

use birthmark_core::json;
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::TokenJson;
use rusqlite::{Connection, OptionalExtension, Row, params};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::row;
use super::whole::Whole;
use super::{Photo, PhotoId};
use crate::device::Sealed;

/// Who takes hold, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// This process.
    pub(crate) holder: u32,
    /// Now.
    pub(crate) now: UnixSeconds,
}

/// A row that is held.
#[derive(Clone)]
pub(crate) struct Claimed {
    pub(crate) photo: Photo,
    pub(crate) token: Option<Sealed>,
    /// The token with its binding as they are stored; by them the row is known to be unchanged.
    pub(super) token_text: Option<String>,
}

/// The text holds the inverse that undoes the blinding.
impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed").field("photo", &self.photo).field("token", &self.token).finish_non_exhaustive()
    }
}

pub(super) fn due(conn: &Connection, hold: Hold, limit: usize) -> rusqlite::Result<Vec<Claimed>> {
    let sql = format!("SELECT id, holder, held_until, next_try FROM photo WHERE {UNFINISHED} ORDER BY attempts, id");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut free = Vec::new();
    while let Some(row) = rows.next()? {
        if free.len() == limit {
            break;
        }
        if is_due(row::whole(row, 3)?, hold.now) && is_free(row, hold.now)? {
            free.push(PhotoId(row.get(0)?));
        }
    }
    free.into_iter().map(|id| take(conn, hold, id)).collect()
}

pub(super) fn one(conn: &Connection, hold: Hold, id: PhotoId) -> rusqlite::Result<Option<Claimed>> {
    let sql = format!("SELECT id, holder, held_until FROM photo WHERE id = ?1 AND ({UNFINISHED})");
    let free = conn.prepare_cached(&sql)?.query_row([id.0], |row| is_free(row, hold.now)).optional()?;
    if free == Some(true) { take(conn, hold, id).map(Some) } else { Ok(None) }
}

pub(super) fn release(conn: &Connection, id: PhotoId) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE photo SET holder = NULL, held_until = NULL WHERE id = ?1")?.execute([id.0]).map(drop)
}

pub(super) fn first_token(conn: &Connection, id: PhotoId, token: &TokenJson, to: &str) -> rusqlite::Result<Claimed> {
    conn.prepare_cached(
        "UPDATE photo SET token = ?2, aggregator = ?3, seals = seals + 1 WHERE id = ?1 AND token IS NULL AND state = 0",
    )?
    .execute(params![id.0, row::text_of(token)?, to])?;
    read(conn, id)
}

pub(super) fn send_to(conn: &Connection, id: PhotoId, token: Option<&str>, to: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE photo SET aggregator = ?3 WHERE id = ?1 AND token IS ?2 AND state < 2")?
        .execute(params![id.0, token, to])
        .map(drop)
}

pub(super) fn unfinished(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row(&format!("SELECT count(*) FROM photo WHERE {UNFINISHED}"), [], |row| row::whole(row, 0))
}

fn take(conn: &Connection, hold: Hold, id: PhotoId) -> rusqlite::Result<Claimed> {
    conn.prepare_cached("UPDATE photo SET holder = ?2, held_until = ?3 WHERE id = ?1")?.execute(params![
        id.0,
        hold.holder,
        Whole(hold.now.0.saturating_add(HOLD_SECONDS))
    ])?;
    read(conn, id)
}

fn read(conn: &Connection, id: PhotoId) -> rusqlite::Result<Claimed> {
    let photo = row::by_id(conn, id)?;
    let token_text: Option<String> =
        conn.prepare_cached("SELECT token FROM photo WHERE id = ?1")?.query_row([id.0], |row| row.get(0))?;
    let token = token_text.as_deref().map(parse).transpose()?;
    Ok(Claimed { photo, token, token_text })
}

/// A text without a binding is a version 1 token, also from before there were others.
fn parse(text: &str) -> rusqlite::Result<Sealed> {
    let token: TokenJson = json::from_slice(text.as_bytes()).map_err(|error| row::damaged(0, error))?;
    token.parse(None).map(|(token, binding)| Sealed { token, binding }).map_err(|error| row::damaged(0, error))
}

/// A time further off than any delay was written under another clock, which has been set back since.
fn is_due(next_try: u64, now: UnixSeconds) -> bool {
    next_try <= now.0 || next_try > now.0.saturating_add(MAX_DELAY_SECONDS)
}

fn is_free(row: &Row<'_>, now: UnixSeconds) -> rusqlite::Result<bool> {
    let (Some(holder), Some(Whole(until))) = (row.get::<_, Option<u32>>(1)?, row.get(2)?) else {
        return Ok(true);
    };
    let over = until <= now.0 || until > now.0.saturating_add(HOLD_SECONDS);
    Ok(over || !is_alive(holder))
}

/// Whether there is such a process here. Where it cannot be seen, the row is submitted twice with one
/// token: no harm.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

const UNFINISHED: &str = "state < 2 OR (state = 2 AND proof IS NULL)";
/// Longer than a submission takes: connecting, `Prefer: wait`, the answer.
const HOLD_SECONDS: u64 = 60;
/// No delay is longer, not even one that the server asks for.
const MAX_DELAY_SECONDS: u64 = 3600;

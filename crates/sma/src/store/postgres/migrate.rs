//! The schema's history in PostgreSQL.
//!
//! For: bringing a database up to date when it is opened, one program at a time. Not for: SQLite, where
//! `birthmark_service::sqlite` does it.
//!
//! Steps never change once they were released. A database with a step that this program does not know is a
//! newer program's: it is refused, not used by guess.

use deadpool_postgres::{Pool, Transaction};
use sha2::{Digest as _, Sha256};

use super::{begin, connect};
use crate::store::{StoreError, StoreOpenError};

/// One step, in order of its number from 1.
struct Step {
    name: &'static str,
    sql: &'static str,
}

/// Why a database was left alone.
#[derive(Debug)]
pub(super) enum Refused {
    Aggregators,
    Schema { version: i64, name: String },
}

/// Applies what is missing, in one transaction.
pub(super) async fn run(pool: &Pool) -> Result<Result<(), Refused>, StoreError> {
    let mut client = connect::get(pool).await?;
    if client.query_one("SHOW fsync", &[]).await?.try_get::<_, &str>(0)? == "off" {
        tracing::warn!("this PostgreSQL runs with fsync off: after a power cut, used tokens may pass again");
    }
    let transaction = begin(&mut client).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let answer = migrate(&transaction).await?;
    if answer.is_ok() {
        transaction.commit().await?;
    }
    Ok(answer)
}

async fn migrate(transaction: &Transaction<'_>) -> Result<Result<(), Refused>, StoreError> {
    if transaction.query_one("SELECT to_regclass('submission') IS NOT NULL", &[]).await?.try_get(0)? {
        return Ok(Err(Refused::Aggregators));
    }
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_history (
                 version bigint PRIMARY KEY,
                 name    text   NOT NULL,
                 digest  bytea  NOT NULL
             )",
        )
        .await?;
    let mut applied = 0;
    for row in transaction.query("SELECT version, name, digest FROM schema_history ORDER BY version", &[]).await? {
        let (version, name, digest): (i64, String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        applied += 1;
        let known = STEPS.get(applied - 1);
        if known.is_none_or(|step| number(applied) != version || step.name != name || step.digest() != *digest) {
            return Ok(Err(Refused::Schema { version, name }));
        }
    }
    for (index, step) in STEPS.iter().enumerate().skip(applied) {
        transaction.batch_execute(step.sql).await?;
        transaction
            .execute(
                "INSERT INTO schema_history (version, name, digest) VALUES ($1, $2, $3)",
                &[&number(index + 1), &step.name, &step.digest().as_slice()],
            )
            .await?;
    }
    Ok(Ok(()))
}

impl Step {
    fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.sql).into()
    }
}

impl Refused {
    /// The error about this database.
    pub(super) fn of(self, database: String) -> StoreOpenError {
        match self {
            Self::Aggregators => StoreOpenError::Aggregators { database },
            Self::Schema { version, name } => StoreOpenError::Schema { database, version, name },
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// "birthmrk": nothing else in the database should lock on it.
const LOCK: i64 = 0x6269_7274_686d_726b;

const STEPS: &[Step] =
    &[Step { name: "authority", sql: include_str!("../../../migrations/postgres/V1__authority.sql") }];

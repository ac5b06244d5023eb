//! The schema's history in PostgreSQL.
//!
//! For: bringing a database up to date when it is opened, one program at a time. Not for: SQLite, where
//! `sqlite` does it.
//!
//! Steps never change once they were released. A database with a step that this program does not know is a
//! newer program's: it is refused, not used by guess.

use deadpool_postgres::{Pool, Transaction};
use sha2::{Digest as _, Sha256};

use super::{PostgresError, PostgresOpenError, Schema, Step, begin, connect};

/// Why a database was left alone.
#[derive(Debug)]
pub(super) enum Refused {
    Foreign,
    Schema { version: i64, name: String },
}

/// Applies what is missing, in one transaction.
pub(super) async fn run(pool: &Pool, schema: Schema) -> Result<Result<(), Refused>, PostgresError> {
    let mut client = connect::get(pool).await?;
    if client.query_one("SHOW fsync", &[]).await?.try_get::<_, &str>(0)? == "off" {
        tracing::warn!("this PostgreSQL runs with fsync off: a power cut loses what was answered");
    }
    let transaction = begin(&mut client).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let answer = migrate(&transaction, schema).await?;
    if answer.is_ok() {
        transaction.commit().await?;
    }
    Ok(answer)
}

async fn migrate(transaction: &Transaction<'_>, schema: Schema) -> Result<Result<(), Refused>, PostgresError> {
    if transaction.query_one("SELECT to_regclass($1::text) IS NOT NULL", &[&schema.foreign]).await?.try_get(0)? {
        return Ok(Err(Refused::Foreign));
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
        let known = schema.steps.get(applied - 1);
        if known.is_none_or(|step| number(applied) != version || step.name != name || step.digest() != *digest) {
            return Ok(Err(Refused::Schema { version, name }));
        }
    }
    for (index, step) in schema.steps.iter().enumerate().skip(applied) {
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
    pub(super) fn of(self, database: String, table: &'static str) -> PostgresOpenError {
        match self {
            Self::Foreign => PostgresOpenError::Foreign { database, table },
            Self::Schema { version, name } => PostgresOpenError::Schema { database, version, name },
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// "birthmrk": nothing else in the database should lock on it.
const LOCK: i64 = 0x6269_7274_686d_726b;

//! Who works on what: the aggregators of one database, their leases, and the work of the dead.
//!
//! For: the store. Not for: the work itself (`queues`).
//!
//! Only the server's clock counts. An aggregator is known by a random number in its folder, so that a restart
//! finds its own rows at once; by its session it is told from another process with a copy of the folder,
//! which ends it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use birthmark_core::hex;
use birthmark_core::ids::NetworkId;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, SecretFileError};
use deadpool_postgres::Object;
use rand_core::Rng;
use tokio_postgres::types::ToSql;

use crate::store::{StoreError, StoreOpenError, Tended};

/// One aggregator's process.
#[derive(Clone, Debug)]
pub(in crate::store) struct Member {
    instance: [u8; 16],
    session: [u8; 16],
    scope: Scope,
}

/// What a process may work on.
#[derive(Clone, Debug)]
pub(in crate::store) struct Scope {
    pub(in crate::store) network: NetworkId,
    /// Those that it can ask.
    pub(in crate::store) authorities: Vec<String>,
    /// After so long without a sign of life it is taken for dead.
    pub(in crate::store) lease: Duration,
}

/// An aggregator's number in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(pub(super) i32);

impl Member {
    /// The one of this folder, which gets its number if it has none.
    pub(in crate::store) fn of_folder(folder: &Path, scope: Scope) -> Result<Self, StoreOpenError> {
        let path = folder.join(INSTANCE_FILE);
        let instance = match secret_file::read(&path, 64) {
            Ok(text) => {
                let text = std::str::from_utf8(&text).unwrap_or_default();
                let Ok(bytes) = hex::decode_array(text.trim()) else {
                    return Err(StoreOpenError::InstanceForm { path });
                };
                bytes
            }
            Err(SecretFileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let instance = random();
                let mut text = hex::encode(instance);
                // A full line, for people.
                let _ = writeln!(text);
                secret_file::create(&path, text.as_bytes())?;
                instance
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { instance, session: random(), scope })
    }

    /// How often it is to give a sign of life.
    pub(super) fn beat(&self) -> Duration {
        self.scope.lease / 3
    }

    fn network(&self) -> &[u8] {
        self.scope.network.0.as_bytes()
    }

    fn seconds(&self) -> f64 {
        self.scope.lease.as_secs_f64()
    }
}

/// Takes its place, and with it all that it left unfinished. None if the database is another network's.
pub(super) async fn register(client: &Object, member: &Member) -> Result<Option<Owner>, StoreError> {
    client.execute("INSERT INTO network (id) VALUES ($1) ON CONFLICT DO NOTHING", &[&member.network()]).await?;
    let of_network = client.query_one("SELECT id = $1 FROM network", &[&member.network()]).await?;
    if !of_network.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let sql =
        "INSERT INTO aggregator (instance, session, alive_until) VALUES ($1, $2, now() + $3 * interval '1 second')
               ON CONFLICT (instance) DO UPDATE SET session = excluded.session, alive_until = excluded.alive_until
               RETURNING id";
    let row =
        client.query_one(sql, &[&member.instance.as_slice(), &member.session.as_slice(), &member.seconds()]).await?;
    Ok(Some(Owner(row.try_get(0)?)))
}

/// Says that it lives, and takes over what others left.
pub(super) async fn tend(client: &Object, owner: Owner, member: &Member) -> Result<Tended, StoreError> {
    let lapsed = renew(client, owner, member).await?;
    let mut tended = Tended { lapsed, ..Tended::default() };
    // Whoever passed for dead itself has most likely not reached the server; nor have the others then, and
    // they are given time to.
    if lapsed {
        return Ok(tended);
    }
    let dead = dead(client, owner).await?;
    if !dead.is_empty() {
        tended.adopted.pending = adopt_pending(client, owner, &dead, &member.scope.authorities).await?;
        tended.adopted.validated = adopt_validated(client, owner, &dead).await?;
    }
    Ok(tended)
}

/// Others need not wait.
pub(super) async fn leave(client: &Object, owner: Owner, member: &Member) -> Result<(), StoreError> {
    let sql = "UPDATE aggregator SET alive_until = now() WHERE id = $1 AND session = $2";
    client.execute(sql, &[&owner.0, &member.session.as_slice()]).await?;
    Ok(())
}

async fn renew(client: &Object, owner: Owner, member: &Member) -> Result<bool, StoreError> {
    let sql = "WITH before AS (SELECT alive_until < now() AS lapsed FROM aggregator WHERE id = $1)
               UPDATE aggregator SET alive_until = now() + $3 * interval '1 second' FROM before
               WHERE id = $1 AND session = $2 RETURNING before.lapsed";
    let statement = client.prepare_cached(sql).await?;
    let row = client.query_opt(&statement, &[&owner.0, &member.session.as_slice(), &member.seconds()]).await?;
    let Some(row) = row else {
        let cause = "another aggregator runs with a copy of this one's folder";
        return Err(StoreError::Closed(Arc::from(cause)));
    };
    Ok(row.try_get(0)?)
}

async fn dead(client: &Object, owner: Owner) -> Result<Vec<i32>, StoreError> {
    let statement = client.prepare_cached("SELECT id FROM aggregator WHERE alive_until < now() AND id <> $1").await?;
    let rows = client.query(&statement, &[&owner.0]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Of those who can be asked alone: what waits for another is left to an aggregator that knows it.
async fn adopt_pending(client: &Object, owner: Owner, dead: &[i32], authorities: &[String]) -> Result<u64, StoreError> {
    let sql = "WITH orphan AS (
                   SELECT id FROM submission WHERE state = 0 AND owner = ANY($2) AND authority = ANY($4) LIMIT $3
                   FOR UPDATE SKIP LOCKED)
               UPDATE submission AS s SET owner = $1 FROM orphan WHERE s.id = orphan.id";
    adopt(client, sql, &[&owner.0, &dead, &ADOPTED_AT_ONCE, &authorities]).await
}

async fn adopt_validated(client: &Object, owner: Owner, dead: &[i32]) -> Result<u64, StoreError> {
    let sql = "WITH orphan AS (
                   SELECT id FROM submission WHERE state = 1 AND owner = ANY($2) LIMIT $3 FOR UPDATE SKIP LOCKED)
               UPDATE submission AS s SET owner = $1 FROM orphan WHERE s.id = orphan.id";
    adopt(client, sql, &[&owner.0, &dead, &ADOPTED_AT_ONCE]).await
}

/// How many rows are ours now. Rows that another is just moving, or taking over, are left to it.
async fn adopt(client: &Object, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
    let statement = client.prepare_cached(sql).await?;
    let mut all = 0;
    loop {
        let adopted = client.execute(&statement, values).await?;
        all += adopted;
        if adopted < ADOPTED_AT_ONCE.unsigned_abs() {
            return Ok(all);
        }
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// In the data folder, beside the signing key.
const INSTANCE_FILE: &str = "instance";
const ADOPTED_AT_ONCE: i64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_keeps_its_number_and_each_process_has_a_session_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let network = NetworkId(birthmark_core::hash::Digest::from_bytes([1; 32]));
        let scope = Scope { network, authorities: Vec::new(), lease: Duration::ZERO };
        let [one, two] = [0, 1].map(|_| Member::of_folder(folder.path(), scope.clone()).unwrap());
        assert_eq!(one.instance, two.instance);
        assert_ne!(one.session, two.session);
        for bad in ["", "xy", &"g".repeat(32), &"0".repeat(31)] {
            std::fs::write(folder.path().join(INSTANCE_FILE), bad).unwrap();
            let error = Member::of_folder(folder.path(), scope.clone()).unwrap_err();
            assert!(matches!(error, StoreOpenError::InstanceForm { .. }), "{bad}: {error}");
        }
    }
}

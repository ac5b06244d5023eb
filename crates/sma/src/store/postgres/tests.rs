use std::sync::Arc;

use super::*;
use crate::store::conformance::{self, Place};
use crate::testing::desk;
use crate::testing::postgres::Cluster;

struct Database {
    cluster: Arc<Cluster>,
    name: String,
    url: String,
}

impl Database {
    fn new(cluster: &Arc<Cluster>, name: &str) -> Self {
        Self { cluster: Arc::clone(cluster), name: name.to_owned(), url: cluster.database(name) }
    }
}

impl Place for Database {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(&self.url, desk::rules()).unwrap())
    }

    fn sql(&self, statements: &str) -> Result<(), String> {
        self.cluster.try_sql(&self.name, statements).map(drop)
    }

    fn bytes(&self, hex: &str) -> String {
        format!("'\\x{hex}'::bytea")
    }

    fn unguard_audit(&self) -> &'static str {
        "ALTER TABLE audit DISABLE TRIGGER ALL"
    }
}

#[tokio::test]
async fn postgres_does_all_that_a_store_must() {
    let cluster = Arc::new(Cluster::start());
    conformance::run(|number| Box::new(Database::new(&cluster, &format!("case_{number}")))).await;
}

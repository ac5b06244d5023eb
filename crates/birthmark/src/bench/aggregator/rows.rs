//! PostgreSQL's own ceiling: submissions gathered into batches of one statement each, and nothing else.
//!
//! For: what the aggregator's store of the same database is measured beside. Not for: queues, leases, or anything
//! that is done with a row later.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use birthmark_core::submission::Submission;
use birthmark_service::random::OsRng;
use bytes::Bytes;
use rand_core::Rng as _;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::{Client, NoTls, Statement};

use super::super::bare;
use super::super::host::Host;

type Waiting = (Bytes, oneshot::Sender<()>);

/// Inserts until the host ends; `pipelines` batches are under way at a time.
pub(super) fn router(host: &Host, url: &str, pipelines: usize) -> anyhow::Result<Router> {
    let (waiting, arriving) = mpsc::channel::<Waiting>(GROUP);
    let arriving = Arc::new(Mutex::new(arriving));
    for number in 0..pipelines {
        let (client, connection) = host.block_on(tokio_postgres::connect(url, NoTls)).context("PostgreSQL")?;
        let (stop, arriving) = (host.tasks().token().clone(), Arc::clone(&arriving));
        host.block_on(async {
            // It carries what the client asks.
            host.tasks().spawn("connection", connection);
            if number == 0 {
                client.batch_execute(TABLE).await?;
            }
            let insert = client.prepare(INSERT).await?;
            host.tasks().spawn("reference", async move {
                tokio::select! {
                    () = stop.cancelled() => Ok(()),
                    ended = insert_all(&client, &insert, &arriving) => ended,
                }
            });
            Ok::<_, tokio_postgres::Error>(())
        })?;
    }
    Ok(Router::new().route("/api/v1/submit", post(store)).with_state(waiting))
}

async fn insert_all(
    client: &Client,
    insert: &Statement,
    arriving: &Mutex<mpsc::Receiver<Waiting>>,
) -> Result<(), tokio_postgres::Error> {
    let mut group = Vec::new();
    loop {
        // All that came while the others were busy goes with the next statement.
        if arriving.lock().await.recv_many(&mut group, GROUP).await == 0 {
            return Ok(());
        }
        let receipts: Vec<Vec<u8>> = group.iter().map(|_| random_receipt()).collect();
        let bodies: Vec<&[u8]> = group.iter().map(|(body, _)| body.as_ref()).collect();
        client.execute(insert, &[&receipts, &bodies]).await?;
        for (_, done) in group.drain(..) {
            // A client that went away needs no answer.
            let _ = done.send(());
        }
    }
}

async fn store(State(waiting): State<mpsc::Sender<Waiting>>, body: Bytes) -> Response {
    if Submission::from_json(&body).is_err() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let (done, stored) = oneshot::channel();
    if waiting.send((body, done)).await.is_err() || stored.await.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    bare::receipt()
}

fn random_receipt() -> Vec<u8> {
    let mut receipt = vec![0; 16];
    OsRng.fill_bytes(&mut receipt);
    receipt
}

const GROUP: usize = 1024;
const TABLE: &str = "CREATE TABLE reference (receipt bytea PRIMARY KEY, body bytea NOT NULL)";
const INSERT: &str = "INSERT INTO reference SELECT * FROM unnest($1::bytea[], $2::bytea[])";

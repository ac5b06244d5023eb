//! Talking to the registry's nodes.
//!
//! For: handing them signed batches, and asking them what is on record; a node that fails is passed over
//! for the next (`nodes`). Not for: checking proofs (whoever asked does), or when to try again
//! (`pipeline/gate`).
//!
//! `docs/PROTOCOL.md` sections 7 and 11:
//! ```text
//! POST /api/v1/transactions  application/octet-stream, Prefer: wait=10
//!                        200 {"results": [{"status": "recorded", "tx_id": 1, "block_height": 2}
//!                                        | {"status": "accepted"} | {"status": "refused", "code": "…"}, …]}
//! GET /api/v1/verify/{image_hash}[?proof=0|1], /api/v1/verify/prefix/{prefix}[?from=…], /checkpoint
//! ```
//! `recorded` holds for the assurance at which a body was handed over, or a higher one. Proofs are passed on
//! as the node writes them, with the endorsement that it has kept.
//!
//! A node that refuses an endorsement's key knows another network file than ours, under which the key counted.
//! A refusal is final, so the photo needs another token: the camera is told `rekey`.

mod nodes;

use std::time::Duration;

use birthmark_core::ImageHash;
use birthmark_core::api::transactions::{TransactionResult, TransactionsAnswer};
use birthmark_core::api::validate::Message;
use birthmark_core::api::verify::VerifyAnswer;
use birthmark_core::batch::{Assurance, Batch, SubmitterKey, Transaction};
use birthmark_core::body::Body;
use birthmark_core::checkpoint::parse_unverified;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{NetworkId, SubmitterNumber};
use birthmark_core::json;
use birthmark_core::prefix::KeyPrefix;
use birthmark_service::client::ClientError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Deserialize;

use crate::pipeline::state::{Event, Reason, Recorded};
use crate::pipeline::trouble::Trouble;
use crate::store::ToPost;

/// How long the node is asked to hold an answer back until the batch is recorded, in seconds.
pub(crate) const RECORD_WAIT_SECONDS: u64 = 10;

/// The longest answer of `verify` that is passed on.
pub(crate) const MAX_VERIFY: usize = 256 * 1024;

pub(crate) use self::nodes::{Node, Nodes};

/// The clients of the nodes, with the key that signs what they are handed.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) network: NetworkId,
    pub(crate) submitter: SubmitterNumber,
    pub(crate) key: SubmitterKey,
    pub(crate) nodes: Nodes,
}

/// Which form of `verify` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofWish {
    /// As the node sees fit.
    Unsaid,
    /// Without.
    Without,
    /// With, also of absence.
    With,
}

/// Why the node's answer to `verify` cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Call(#[from] ClientError),
    #[error("the node's answer is not about the hash that was asked for")]
    OffTopic,
    #[error("there is no node to ask")]
    Nobody,
    #[error("no page begins there")]
    NoSuchPage,
}

/// What a node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// About one hash.
    Hash(ImageHash, ProofWish),
    /// For a page of a look-up by prefix.
    Page(KeyPrefix, Option<Digest>),
    /// For its checkpoint.
    Checkpoint,
}

impl Question {
    fn path(&self) -> String {
        match self {
            Self::Hash(hash, ProofWish::Unsaid) => format!("/api/v1/verify/{hash}"),
            Self::Hash(hash, ProofWish::Without) => format!("/api/v1/verify/{hash}?proof=0"),
            Self::Hash(hash, ProofWish::With) => format!("/api/v1/verify/{hash}?proof=1"),
            Self::Page(prefix, None) => format!("/api/v1/verify/prefix/{prefix}"),
            Self::Page(prefix, Some(from)) => format!("/api/v1/verify/prefix/{prefix}?from={from}"),
            Self::Checkpoint => "/checkpoint".to_owned(),
        }
    }
}

impl Registry {
    /// Hands over bodies whose tokens have passed, 1 to 256. One event for each, in order.
    pub(crate) async fn record(&self, rows: &[ToPost]) -> Result<Vec<Event>, Trouble> {
        // A voucher has an endorsement exactly where its assurance needs one, so there is always one.
        let transactions: Vec<_> = rows.iter().map(transaction).collect::<Option<_>>().unwrap_or_default();
        let batch = Batch::sign(self.network, self.submitter, &self.key, transactions).encode();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if let Ok(wait) = HeaderValue::from_str(&format!("wait={RECORD_WAIT_SECONDS}")) {
            headers.insert(HeaderName::from_static("prefer"), wait);
        }
        let batch = Bytes::from(batch);
        let mut trouble = Trouble::Count { got: 0, wanted: rows.len() };
        for (place, node) in self.nodes.in_turn() {
            match post(node, headers.clone(), batch.clone(), rows.len()).await {
                Ok(results) => {
                    if results.iter().all(|result| *result == TransactionResult::Accepted) {
                        self.nodes.leave(place);
                    } else {
                        self.nodes.stay_with(place);
                    }
                    let results = results.into_iter().zip(rows);
                    return Ok(results.map(|(result, row)| event(result, row.voucher.assurance())).collect());
                }
                Err(cause) => {
                    tracing::debug!(node = node.url, error = %cause, "a node took no batch");
                    trouble = cause;
                }
            }
        }
        Err(trouble)
    }

    /// A node's answer, as it is.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Bytes, AskError> {
        let path = question.path();
        let (mut trouble, mut has_failed) = (AskError::Nobody, false);
        for (place, node) in self.nodes.in_turn() {
            match put(node, question, &path).await {
                Ok(answer) => {
                    if has_failed {
                        self.nodes.stay_with(place);
                    }
                    return Ok(answer);
                }
                // The node is well; what was asked is not.
                Err(AskError::NoSuchPage) => return Err(AskError::NoSuchPage),
                Err(cause) => {
                    // Anybody may ask for more pages than a node makes at one time; that must not decide where posts go.
                    has_failed |= !matches!(&cause, AskError::Call(error) if error.code() == Some("busy"));
                    trouble = cause;
                }
            }
        }
        Err(trouble)
    }

    /// The proof of this very record. None if the node cannot be asked now, or shows another record of
    /// each of the body's hashes first: the holder can ask again.
    pub(crate) async fn proof(&self, body: &Body, recorded: Recorded) -> Option<String> {
        tokio::time::timeout(PROOF_TIME, self.proof_by_any_hash(body, recorded)).await.ok().flatten()
    }

    async fn proof_by_any_hash(&self, body: &Body, recorded: Recorded) -> Option<String> {
        for entry in body.entries.as_slice() {
            let answer = match self.ask(&Question::Hash(entry.hash, ProofWish::Unsaid)).await {
                Ok(answer) => json::from_slice::<VerifyAnswer>(&answer).ok()?,
                Err(error) => {
                    tracing::warn!(%error, "a proof could not be fetched; the receipt is answered without it");
                    return None;
                }
            };
            if let Some(record) = answer.record.filter(|record| record.tx_id == recorded.tx_id) {
                return record.proof;
            }
        }
        None
    }
}

async fn post(node: &Node, headers: HeaderMap, batch: Bytes, wanted: usize) -> Result<Vec<TransactionResult>, Trouble> {
    let answer = node.posting.send(Method::POST, "/api/v1/transactions", headers, batch).await?;
    let TransactionsAnswer { results } = json::from_slice(&answer.body).map_err(Trouble::Answer)?;
    if results.len() == wanted { Ok(results) } else { Err(Trouble::Count { got: results.len(), wanted }) }
}

/// Whatever else stands at the address must not be passed on as the registry's word.
async fn put(node: &Node, question: &Question, path: &str) -> Result<Bytes, AskError> {
    #[derive(Deserialize)]
    struct About {
        image_hash: ImageHash,
    }
    let (answer, is_on_topic) = match question {
        Question::Hash(hash, _) => {
            let answer = node.reading.get_bytes(path).await?.body;
            let is_on_topic = json::from_slice::<About>(&answer).is_ok_and(|about| about.image_hash == *hash);
            (answer, is_on_topic)
        }
        Question::Page(prefix, _) => {
            let answer = match node.paging.get_bytes(path).await {
                Err(error) if error.code() == Some("malformed_query") => return Err(AskError::NoSuchPage),
                answer => answer?.body,
            };
            // What is in it is for the client to judge; it takes long to read.
            let begin = format!("{{\"prefix\":\"{prefix}\",");
            let is_on_topic = answer.starts_with(begin.as_bytes());
            (answer, is_on_topic)
        }
        Question::Checkpoint => {
            let answer = node.reading.get_bytes(path).await?.body;
            let is_on_topic = std::str::from_utf8(&answer).is_ok_and(|note| parse_unverified(note).is_ok());
            (answer, is_on_topic)
        }
    };
    if is_on_topic { Ok(answer) } else { Err(AskError::OffTopic) }
}

/// For a receipt's proof, however many of its hashes are asked about: who waits for a receipt may have
/// waited half a minute already, and the server's own limit is near.
const PROOF_TIME: Duration = Duration::from_secs(10);

fn transaction(row: &ToPost) -> Option<Transaction> {
    Transaction::new(row.voucher.assurance(), row.voucher.encode().unwrap_or_default(), row.body.clone())
}

fn event(result: TransactionResult, assurance: Assurance) -> Event {
    match result {
        TransactionResult::Accepted => Event::Undecided,
        TransactionResult::Recorded { tx_id, block_height } => {
            Event::Recorded(Recorded { tx_id, block_height, assurance })
        }
        TransactionResult::Refused { code } if KEY_REFUSALS.contains(&code.as_str()) => {
            Event::Refused(Reason::of(Message::Rekey))
        }
        TransactionResult::Refused { code } => Event::Refused(Reason::of_text(&code, "refused_by_registry")),
    }
}

/// What a node says whose network file does not have the endorsement key, or has it as revoked.
const KEY_REFUSALS: [&str; 2] = ["unknown_endorsement_key", "revoked_endorsement_key"];

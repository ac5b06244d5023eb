//! The answer to `POST /api/v1/transactions`, one result for each transaction of the batch, in order.

use serde::{Deserialize, Serialize};

use crate::ids::{Height, TxId};

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionsAnswer {
    /// In the batch's order.
    pub results: Vec<TransactionResult>,
}

/// What became of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TransactionResult {
    /// Not refused and not recorded yet: the sender keeps it and asks again. Where another transaction of
    /// the batch is refused, the node has kept none of it, and the next batch must leave that one out.
    Accepted,
    /// On record, covered by a published checkpoint.
    Recorded {
        /// The record's index in the log.
        tx_id: TxId,
        /// The record's block.
        block_height: Height,
    },
    /// Against the registry's rules; sending it again changes nothing.
    Refused {
        /// Stable name of the rule.
        code: String,
    },
}

//! A batch that is to be recorded, with what is needed of it more than once on its way to a block.

use birthmark_core::batch::{Batch, Transaction};
use birthmark_core::body::BodyDigest;

/// The batch and the digests of its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    batch: Batch,
    bodies: Vec<BodyDigest>,
    encoded_len: usize,
}

impl Offer {
    pub(crate) fn new(batch: Batch) -> Self {
        let bodies = batch.transactions.iter().map(|transaction| transaction.body().digest()).collect();
        let encoded_len = batch.encode().len();
        Self { batch, bodies, encoded_len }
    }

    pub(crate) const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Bytes on the wire. In a block it is never longer.
    pub(crate) const fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Each transaction with the digest of its body.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Transaction, &BodyDigest)> {
        self.batch.transactions.iter().zip(&self.bodies)
    }
}

//! The registry's ledger: which block is valid, what it changes, and how that is proven.
//!
//! The way of a block: `block` decodes it, `rules` judge it with `endorsements`, `apply` turns it into
//! changes, `governance` says who may speak in the next one, `index` says what that does to the lists of
//! records and `trie` to the index root, `store` commits all atomically, with what `frame` keeps so that the
//! block can be given again (`transfer`).
//! [`Ledger`] ties these together; [`fsck`] computes all of it again.
//!
//! Not for: ordering blocks (`birthmark-engine`), signing checkpoints or serving anyone
//! (`birthmark-node`).
//!
//! Everything but `store` and [`Ledger`] is pure: the same state and block give the same changes on
//! every node. What `endorsements` remembers saves time and decides nothing. Formats: `docs/PROTOCOL.md` sections 7 to 9.

pub mod apply;
pub mod block;
pub mod endorsements;
mod frame;
pub mod fsck;
pub mod governance;
pub mod index;
mod ledger;
pub mod rules;
mod store;
#[cfg(test)]
mod testing;
pub mod transfer;
mod trie;

pub use ledger::{
    BadBlocks, Block, BlockInfo, Found, Head, IndexProof, Ledger, LedgerError, Reading, Rebuilt, Tree, View,
};
pub use store::StoreError;
pub use transfer::WholeBlock;

//! Another node that blocks are fetched from, and why what it says is refused.
//!
//! For: bounded questions to one node: its checkpoint, its blocks, hashes of its log. Not for: believing any of
//! it; `sync` checks all of it against checkpoints that a quorum has signed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use birthmark_core::codec::DecodeError;
use birthmark_core::leaf::Leaf;
use birthmark_core::merkle::{self, MerkleError, TreeHash};
use birthmark_core::network::{self, FollowError, MAX_ACTS, Network, TrustError};
use birthmark_core::tile::{FULL_WIDTH, SubtreePlace, Tile, TileError, TileKind, decode_entries};
use birthmark_ledger::BadBlocks;
use birthmark_ledger::transfer::{self, WholeBlock};
use birthmark_service::client::{ClientError, ClientOptions, ClientSetupError, HttpClient};

/// Why a node is not followed, for now.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It does not answer, or answers with more than it may.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What should be its checkpoint is no text.
    #[error("the checkpoint is no text")]
    NotText,
    /// Its checkpoint is not one that the network's validators stand behind.
    #[error("the checkpoint is refused: {0}")]
    Checkpoint(#[from] TrustError),
    /// Its network file does not lead on from what is known here.
    #[error("the network file is refused: {0}")]
    Acts(#[from] FollowError),
    /// It is behind what is known here.
    #[error("the checkpoint has {got} leaves, but {wanted} are known")]
    Stale {
        /// Leaves under its checkpoint.
        got: u64,
        /// Leaves that are wanted.
        wanted: u64,
    },
    /// Its blocks do not decode.
    #[error("the blocks do not decode: {0}")]
    Malformed(#[from] DecodeError),
    /// It has a checkpoint and withholds the blocks under it.
    #[error("it gives no block {0}, which its checkpoint covers")]
    Withheld(u64),
    /// Its blocks are not the next ones, or invalid.
    #[error(transparent)]
    Blocks(#[from] BadBlocks),
    /// Its blocks give another log than the one that its checkpoint is of.
    #[error("the blocks up to {height} give another log than the checkpoint's")]
    OtherLog {
        /// The last block that was compared.
        height: u64,
    },
    /// Blocks without leaves that cannot stand before the next one with leaves.
    #[error("block {0} cannot be without leaves: the log has another one next")]
    Empty(u64),
    /// Its tiles are not those of its checkpoint.
    #[error("the tiles do not fit the checkpoint: {0}")]
    Tiles(#[from] TileError),
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    client: HttpClient,
}

impl Source {
    /// A node by its origin, `http://host:port`.
    pub(crate) fn new(origin: &str) -> Result<Self, ClientSetupError> {
        let options = ClientOptions {
            request_timeout: PATIENCE,
            max_response: MAX_ANSWER,
            idle_connections: 2,
            ..ClientOptions::default()
        };
        Ok(Self { client: HttpClient::new(origin, &options)? })
    }

    pub(crate) fn origin(&self) -> &str {
        self.client.origin()
    }

    /// Its checkpoint, unchecked.
    pub(crate) async fn checkpoint(&self) -> Result<String, SourceError> {
        let note = self.client.get_bytes("/checkpoint").await?.body;
        String::from_utf8(note.into()).map_err(|_| SourceError::NotText)
    }

    /// The network after the acts behind those of `known` that its network file proves, and these proofs. It is
    /// believed in nothing: the validators known so far have signed for each act.
    pub(crate) async fn followed(&self, known: &Network) -> Result<(Network, Vec<String>), SourceError> {
        let file = self.client.get_bytes("/network.json").await?.body;
        let acts = network::acts_of(&file).unwrap_or_default();
        let known_acts = usize::try_from(known.act_count()).unwrap_or(usize::MAX);
        let proofs: Vec<_> = acts.into_iter().take(MAX_ACTS).skip(known_acts).collect();
        let mut network = known.clone();
        for proof in &proofs {
            network = network.follow(proof)?;
        }
        Ok((network, proofs))
    }

    /// Some blocks from this height on, at least one.
    pub(crate) async fn blocks(&self, from: u64) -> Result<Vec<WholeBlock>, SourceError> {
        let answer = self.client.get_bytes(&format!("/api/v1/blocks/{from}")).await?.body;
        let blocks = transfer::decode(&answer)?;
        if blocks.is_empty() { Err(SourceError::Withheld(from)) } else { Ok(blocks) }
    }

    /// The hashes that should show its tree of `new` leaves to extend the one of `old`, out of its tiles.
    pub(crate) async fn consistency(&self, old: u64, new: u64) -> Result<Vec<TreeHash>, SourceError> {
        self.hashes(new, |source| merkle::prove_consistency(old, new, &mut |level, index| source(level, index))).await
    }

    /// The block leaf that comes first among its leaves from `first` on, where its tree has `size` leaves: its
    /// place, its bytes, and what should be the hashes that show it there.
    pub(crate) async fn block_leaf(&self, first: u64, size: u64) -> Result<(u64, Vec<u8>, Vec<TreeHash>), SourceError> {
        let width = u64::from(FULL_WIDTH);
        for number in (first / width..).take(MOST_TILES) {
            let tile = Tile::in_tree(TileKind::Entries, number, size).ok_or(TileError::OutOfRange)?;
            let bundle = self.client.get_bytes(&format!("/{tile}")).await?.body;
            let leaves = (tile.first_item()..).zip(decode_entries(&bundle, tile.width())?);
            let mut leaves =
                leaves.filter(|(at, leaf)| *at >= first && matches!(Leaf::decode(leaf), Ok(Leaf::Block(_))));
            if let Some((at, leaf)) = leaves.next() {
                let proof = self
                    .hashes(size, |source| merkle::prove_inclusion(at, size, &mut |level, index| source(level, index)))
                    .await?;
                return Ok((at, leaf.to_vec(), proof));
            }
        }
        Err(TileError::OutOfRange.into())
    }

    /// What `prove` makes of the hashes in its tiles.
    async fn hashes(
        &self,
        size: u64,
        prove: impl Fn(&mut dyn FnMut(u8, u64) -> Result<TreeHash, MerkleError>) -> Result<Vec<TreeHash>, MerkleError>,
    ) -> Result<Vec<TreeHash>, SourceError> {
        let impossible = |_: MerkleError| SourceError::Tiles(TileError::OutOfRange);
        let mut wanted = Vec::new();
        prove(&mut |level, index| {
            wanted.push((level, index));
            Ok(merkle::EMPTY_ROOT)
        })
        .map_err(impossible)?;
        let (mut tiles, mut hashes) = (BTreeMap::new(), BTreeMap::new());
        for (level, index) in wanted {
            let place = SubtreePlace::of(level, index)?;
            let kind = TileKind::Hashes { level: place.tile_level };
            let tile = Tile::in_tree(kind, place.tile_index, size).ok_or(TileError::OutOfRange)?;
            let bytes = match tiles.entry(tile) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.client.get_bytes(&format!("/{tile}")).await?.body),
            };
            hashes.insert((level, index), place.hash_in(bytes)?);
        }
        prove(&mut |level, index| hashes.get(&(level, index)).copied().ok_or(MerkleError::ProofLength(0)))
            .map_err(impossible)
    }
}

/// Of one answer. Blocks may be large and lines slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a node adds blocks to an answer up to.
pub(crate) const ANSWER_BYTES: usize = 1024 * 1024;
/// Of leaves that one block may have: its payload has place for 100,000.
const MOST_TILES: usize = 512;
const MAX_ANSWER: usize = 1 + ANSWER_BYTES + transfer::MAX_BLOCK;

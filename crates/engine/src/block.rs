//! The block as validators exchange and store it.
//!
//! For: its encoding, the bounds that hold before anything is allocated, and the digest that votes are about.
//! Not for: what header and payload mean (the ledger).
//!
//! ```text
//! block  = prefix ‖ be32 header length ‖ header ‖ be32 payload length ‖ payload
//! prefix = be64 epoch ‖ be64 view ‖ leader (32) ‖ be64 parent view ‖ parent digest (32) ‖ be64 height
//! digest = SHA-256("birthmark/block/v1" ‖ prefix ‖ be32 header length ‖ header ‖ SHA-256(payload))
//! ```
//! Widths are fixed, so one block has one encoding. Genesis has height 0, view 0, parent zeros, an empty payload, and
//! the first validator of the sorted set as its leader.

use bytes::{BufMut, Bytes};
use commonware_codec::{Buf, EncodeSize, Error, FixedSize as _, Read, ReadExt as _, Write};
use commonware_consensus::{
    Block as ConsensusBlock, BoundedBlock, CertifiableBlock, Heightable,
    simplex::types::Context as SimplexContext,
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{Digest as _, Digestible, Hasher as _, Sha256, ed25519::PublicKey, sha256::Digest};

use crate::chain::{OrderedBlock, Proposal};

/// The engine's account of a block's place: round, leader, parent.
pub(crate) type Context = SimplexContext<Digest, PublicKey>;

/// A block, with its digest computed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    context: Context,
    height: Height,
    header: Bytes,
    payload: Bytes,
    digest: Digest,
}

/// Largest sizes of the two opaque parts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockLimits {
    pub(crate) header: u32,
    pub(crate) payload: u32,
}

impl Block {
    /// The block that everything builds on.
    pub(crate) fn genesis(epoch: Epoch, leader: PublicKey, header: Bytes) -> Self {
        let context = Context { round: Round::new(epoch, View::zero()), leader, parent: (View::zero(), Digest::EMPTY) };
        Self::new(context, Height::zero(), Proposal { header, payload: Bytes::new() })
    }

    /// A block at the place that `context` and `height` give; the caller has checked the limits.
    pub(crate) fn new(context: Context, height: Height, proposal: Proposal) -> Self {
        let Proposal { header, payload } = proposal;
        let mut block = Self { context, height, header, payload, digest: Digest::EMPTY };
        let mut start = Vec::with_capacity(PREFIX + 4);
        block.write_prefix(&mut start);
        start.put_u32(length(&block.header));
        let payload_hash = Sha256::hash(&[&block.payload]);
        block.digest = Sha256::hash(&[DOMAIN, &start, &block.header, &payload_hash]);
        block
    }

    /// The same, in the terms of [`Chain`](crate::Chain).
    pub(crate) fn ordered(&self) -> OrderedBlock {
        OrderedBlock {
            height: self.height.get(),
            digest: self.digest.0,
            parent: self.context.parent.1.0,
            header: self.header.clone(),
            payload: self.payload.clone(),
        }
    }

    /// The epoch in which it was made.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.context.round.epoch()
    }

    fn write_prefix(&self, buf: &mut impl BufMut) {
        buf.put_u64(self.context.round.epoch().get());
        buf.put_u64(self.context.round.view().get());
        buf.put_slice(&self.context.leader);
        buf.put_u64(self.context.parent.0.get());
        buf.put_slice(&self.context.parent.1);
        buf.put_u64(self.height.get());
    }
}

impl BlockLimits {
    /// Whether `proposal` may be put into a block.
    pub(crate) fn admit(self, proposal: &Proposal) -> bool {
        fits(proposal.header.len(), self.header) && fits(proposal.payload.len(), self.payload)
    }
}

impl Write for Block {
    fn write(&self, buf: &mut impl BufMut) {
        self.write_prefix(buf);
        buf.put_u32(length(&self.header));
        buf.put_slice(&self.header);
        buf.put_u32(length(&self.payload));
        buf.put_slice(&self.payload);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        OVERHEAD + self.header.len() + self.payload.len()
    }
}

impl Read for Block {
    type Cfg = BlockLimits;

    fn read_cfg(buf: &mut impl Buf, limits: &BlockLimits) -> Result<Self, Error> {
        let round = Round::new(Epoch::new(u64::read(buf)?), View::new(u64::read(buf)?));
        let leader = PublicKey::read(buf)?;
        let parent = (View::new(u64::read(buf)?), Digest::read(buf)?);
        let height = Height::new(u64::read(buf)?);
        let header = read_bounded(buf, limits.header, "header too long")?;
        let payload = read_bounded(buf, limits.payload, "payload too long")?;
        Ok(Self::new(Context { round, leader, parent }, height, Proposal { header, payload }))
    }
}

impl BoundedBlock for Block {
    fn max_encode_size(limits: &BlockLimits) -> usize {
        OVERHEAD.saturating_add(widen(limits.header)).saturating_add(widen(limits.payload))
    }
}

impl Digestible for Block {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        self.digest
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        self.height
    }
}

impl ConsensusBlock for Block {
    // The parent is not encoded a second time, so it cannot differ from what was voted on.
    fn parent(&self) -> Digest {
        self.context.parent.1
    }
}

impl CertifiableBlock for Block {
    type Context = Context;

    fn context(&self) -> Context {
        self.context.clone()
    }
}

fn read_bounded(buf: &mut impl Buf, max: u32, refusal: &'static str) -> Result<Bytes, Error> {
    let len = u32::read(buf)?;
    if len > max {
        return Err(Error::Invalid("Block", refusal));
    }
    buf.try_take_owned(widen(len)).map_err(|_| Error::EndOfBuffer)
}

// Blocks within limits have lengths that fit; one that was built beyond them must not pass for a shorter one.
fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn fits(len: usize, max: u32) -> bool {
    u32::try_from(len).is_ok_and(|len| len <= max)
}

fn widen(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

const DOMAIN: &[u8] = b"birthmark/block/v1";
const PREFIX: usize = 4 * u64::SIZE + PublicKey::SIZE + Digest::SIZE;
const OVERHEAD: usize = PREFIX + 2 * u32::SIZE;

#[cfg(test)]
mod tests;

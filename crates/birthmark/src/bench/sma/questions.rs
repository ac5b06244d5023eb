//! Questions about tokens that nobody has seen, as whole HTTP requests.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use birthmark_core::api::validate::{BatchRequest, ValidateRequest};
use birthmark_core::endorsement::PublicKey;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, KeyIndex, NetworkId};
use birthmark_core::network::TokenKey;
use birthmark_core::token::v2::Seal;
use birthmark_core::token::{Blinding, v1};
use birthmark_service::random::OsRng;
use rand_core::Rng as _;

use super::super::load;
use super::cameras::{Camera, Cameras};

/// Asks in the name of an aggregator.
#[derive(Debug)]
pub(super) struct Questions<'a> {
    cameras: &'a Cameras,
    network: NetworkId,
    key: &'a PublicKey,
}

/// How questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `POST /validate`, one a request.
    Single,
    /// `POST /validate/batch`, as many as it takes.
    Batch,
}

/// Of tokens of version 2. A camera never goes back, so neither does this.
static COUNTER: AtomicU64 = AtomicU64::new(1);

impl<'a> Questions<'a> {
    pub(super) const fn new(cameras: &'a Cameras, network: NetworkId, key: &'a PublicKey) -> Self {
        Self { cameras, network, key }
    }

    /// One token each of so many cameras, in turn.
    pub(super) fn version_1(&self, count: u32, shape: Shape) -> anyhow::Result<Vec<Vec<u8>>> {
        let authority = AuthorityId::new(AUTHORITY)?;
        self.each(count, shape, |camera| {
            let (id, key) = &camera.table;
            let token = v1::seal((*id, key), index()?, &camera.nuc_hash, &mut OsRng);
            Ok(ValidateRequest::of(&token, None, &authority, random()))
        })
    }

    /// The same with version 2. The message to be signed is random, as a blinded one is.
    pub(super) fn version_2(&self, count: u32, shape: Shape, to: TokenKey) -> anyhow::Result<Vec<Vec<u8>>> {
        let authority = AuthorityId::new(AUTHORITY)?;
        self.each(count, shape, |camera| {
            let mut blinding = Blinding { enc: [0; 32], key_id: self.key.id(), blinded_message: self.message() };
            let (id, key) = &camera.table;
            let seal = Seal {
                network: self.network,
                token_key: to,
                table: (*id, key),
                key_index: index()?,
                commitment: &blinding.commitment(),
                nuc_hash: &camera.nuc_hash,
                device_key: &camera.device_key,
                counter: COUNTER.fetch_add(1, Ordering::Relaxed),
            };
            let (token, enc) = seal.seal(&mut OsRng)?;
            blinding.enc = enc;
            Ok(ValidateRequest::of(&token, Some(&blinding), &authority, random()))
        })
    }

    /// A random message below the modulus.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = vec![0; self.key.modulus_len()];
        OsRng.fill_bytes(&mut message);
        // Moduli begin with a one bit.
        if let Some(first) = message.first_mut() {
            *first &= 0x7f;
        }
        message
    }

    fn each(
        &self,
        count: u32,
        shape: Shape,
        make: impl Fn(&Camera) -> anyhow::Result<ValidateRequest>,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let next = || make(self.cameras.next().context("there is no camera")?);
        (0..count / shape.questions())
            .map(|_| match shape {
                Shape::Single => load::post("/validate", &next()?),
                Shape::Batch => {
                    let requests = (0..shape.questions()).map(|_| next()).collect::<anyhow::Result<_>>()?;
                    load::post("/validate/batch", &BatchRequest { requests })
                }
            })
            .collect()
    }
}

impl Shape {
    /// Of one request.
    pub(super) const fn questions(self) -> u32 {
        match self {
            Self::Single => 1,
            Self::Batch => 256,
        }
    }

    /// As many questions under way as one full batch or four of them hold, on either side. With fewer, a store
    /// that flushes before it answers is measured by its disk's latency alone: 64 connections and a flush of
    /// 3.5 ms make 18,000 a second, whatever the program does.
    pub(super) const fn connections(self) -> usize {
        match self {
            Self::Single => 256,
            Self::Batch => 4,
        }
    }
}

/// Any network will do: it is only named.
pub(super) fn network() -> NetworkId {
    NetworkId(Digest::of_parts(&[b"bench network"]))
}

fn index() -> anyhow::Result<KeyIndex> {
    let [low, high] = random();
    Ok(KeyIndex::new(u16::from_le_bytes([low, high]) % 1000)?)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

pub(super) const AUTHORITY: &str = "SIMULATED_MFG_001";

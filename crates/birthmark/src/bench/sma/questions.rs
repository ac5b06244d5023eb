//! Questions about tokens that nobody has seen, as whole HTTP requests.

use std::sync::atomic::{AtomicU64, Ordering};

use birthmark_core::api::validate::ValidateRequest;
use birthmark_core::endorsement::PublicKey;
use birthmark_core::hash::Digest;
use birthmark_core::ids::{AuthorityId, KeyIndex, NetworkId};
use birthmark_core::network::TokenKey;
use birthmark_core::token::v2::Seal;
use birthmark_core::token::{Blinding, v1};
use birthmark_service::random::OsRng;
use rand_core::Rng as _;

use super::cameras::{Camera, Cameras};

/// Asks in the name of an aggregator.
#[derive(Debug)]
pub(super) struct Questions<'a> {
    cameras: &'a Cameras,
    network: NetworkId,
    key: &'a PublicKey,
}

/// Of tokens of version 2. A camera never goes back, so neither does this.
static COUNTER: AtomicU64 = AtomicU64::new(1);

impl<'a> Questions<'a> {
    pub(super) const fn new(cameras: &'a Cameras, network: NetworkId, key: &'a PublicKey) -> Self {
        Self { cameras, network, key }
    }

    /// One token each of so many cameras, in turn.
    pub(super) fn version_1(&self, count: u32) -> anyhow::Result<Vec<Vec<u8>>> {
        let authority = AuthorityId::new(AUTHORITY)?;
        self.each(count, |camera| {
            let (id, key) = &camera.table;
            let token = v1::seal((*id, key), index()?, &camera.nuc_hash, &mut OsRng);
            request(&ValidateRequest::of(&token, None, &authority, random()))
        })
    }

    /// The same with version 2. The message to be signed is random, as a blinded one is.
    pub(super) fn version_2(&self, count: u32, to: TokenKey) -> anyhow::Result<Vec<Vec<u8>>> {
        let authority = AuthorityId::new(AUTHORITY)?;
        self.each(count, |camera| {
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
            request(&ValidateRequest::of(&token, Some(&blinding), &authority, random()))
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

    fn each(&self, count: u32, make: impl Fn(&Camera) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>> {
        let cameras = self.cameras.known.iter().cycle();
        (0..count).zip(cameras).map(|(_, camera)| make(camera)).collect()
    }
}

/// Any network will do: it is only named.
pub(super) fn network() -> NetworkId {
    NetworkId(Digest::of_parts(&[b"bench network"]))
}

fn request(question: &ValidateRequest) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_vec(question)?;
    let head = "POST /validate HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: ";
    let mut request = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
    request.extend(body);
    Ok(request)
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

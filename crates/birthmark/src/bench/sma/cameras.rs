//! Very many cameras in the registry, and the secrets of some of them.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use birthmark_core::api::provision::{DeviceConfig, ProvisionRequest};
use birthmark_core::hash::Digest;
use birthmark_core::ids::{DeviceFamily, DeviceSerial, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::token::NucHash;
use birthmark_core::token::v2::DeviceKey;
use birthmark_core::{base64, hex};
use birthmark_sma::Sma;

use super::super::Bench;
use super::super::host::Host;
use crate::terminal::Waiting;

/// The registry's cameras: about a hundred bytes each, taken from the memory of this process.
#[derive(Debug)]
pub(in crate::bench) struct Cameras {
    count: u32,
    pub(in crate::bench) known: Vec<Camera>,
    asked: AtomicU64,
}

/// What one camera seals with.
#[derive(Debug)]
pub(in crate::bench) struct Camera {
    pub(in crate::bench) table: (TableId, TableKey),
    pub(in crate::bench) nuc_hash: NucHash,
    pub(in crate::bench) device_key: DeviceKey,
}

impl Cameras {
    /// Registers as many as the options say, in transactions of thousands.
    pub(in crate::bench) fn provision(bench: &Bench, host: &Host, sma: &Sma, count: u32) -> anyhow::Result<Self> {
        let progress = Waiting::with_length("provisioning cameras", u64::from(count.div_ceil(AT_ONCE)));
        let mut known = Vec::new();
        for from in (0..count).step_by(usize::try_from(AT_ONCE)?) {
            bench.check()?;
            let numbers = from..count.min(from.saturating_add(AT_ONCE));
            let requests = numbers.clone().map(request).collect::<anyhow::Result<_>>()?;
            let configs = host.block_on(sma.provision_many(requests))?;
            for (number, config) in numbers.zip(configs) {
                known.push(Camera::of(number, &config?)?);
            }
            progress.advance();
        }
        Ok(Self { count, known, asked: AtomicU64::new(0) })
    }

    pub(in crate::bench) const fn count(&self) -> u32 {
        self.count
    }

    /// One after the other, far from the one before in the order of registration; none again before all were
    /// asked about.
    pub(in crate::bench) fn next(&self) -> Option<&Camera> {
        let count = u64::try_from(self.known.len()).ok().filter(|count| *count > 0)?;
        let place = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP) % count;
        self.known.get(usize::try_from(place).ok()?)
    }
}

impl Camera {
    fn of(number: u32, config: &DeviceConfig) -> anyhow::Result<Self> {
        let device_key = config.device_key.as_ref().context("a camera got no device key")?;
        Ok(Self {
            table: (config.table_id, TableKey::from_bytes(base64::decode_array(&config.encryption_key.0)?)),
            nuc_hash: NucHash::from_bytes(*fingerprint(number).as_bytes()),
            device_key: DeviceKey::from_bytes(base64::decode_array(&device_key.0)?),
        })
    }
}

fn request(number: u32) -> anyhow::Result<ProvisionRequest> {
    Ok(ProvisionRequest {
        device_serial: DeviceSerial::new(format!("BENCH_{number:07}"))?,
        device_family: DeviceFamily::new("Raspberry Pi HQ Camera (simulated)")?,
        nuc_hash: hex::encode(fingerprint(number).as_bytes()),
        min_token_version: 1,
        tpm: None,
    })
}

fn fingerprint(number: u32) -> Digest {
    Digest::of_parts(&[b"bench camera", &number.to_be_bytes()])
}

const AT_ONCE: u32 = 5_000;
/// A prime above any count, so that multiples of it come to every place.
const STEP: u64 = 2_147_483_647;

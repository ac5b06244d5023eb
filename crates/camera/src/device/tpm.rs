//! Keys in a TPM 2.0: sealed to its storage key, counted in its memory, vouched for by its attestation key.
//!
//! For: [`Tpm`], the [`SecureElement`] of a camera with a chip. Reached through the system's tpm2-tss.
//!
//! Not for: hashing photographs (the CPU does: 25 MB through the chip take minutes), or PCR policies (a Pi
//! does not measure its boot, so they would prove nothing).
//!
//! What is where:
//! ```text
//! storage key       primary key of the owner hierarchy, ECC P-256, restricted, made anew from its seed each time
//! sealed objects    the camera's keys, 128 bytes each, under the storage key; lie in `device_config.json`
//! attestation key   primary key of the owner hierarchy, ECDSA P-256, restricted; its seed and the serial make it
//! token counter     NV index of type counter, one step for each 64 numbers, and beside it one that holds
//!                   what is added; 0x0180B100 and following, two for each camera
//! ```
//! The chip is opened for each use and left alone between: then a restart of it, or of what shares it, does
//! no harm. Everything secret crosses the bus in sessions that are salted to the storage key and encrypted.
//! Its name is in the configuration, so nothing else can take its place. No object has a password, and none
//! counts for the lock-out after wrong ones: what other programs do cannot keep the camera from working.

mod attest;
mod chip;
mod numbers;
mod parts;
mod refusal;
mod sealed;
mod template;

use std::path::Path;
use std::str::FromStr as _;

use birthmark_core::api::provision::{DeviceConfig, TpmAttestation};
use birthmark_core::hex;
use birthmark_core::ids::DeviceSerial;
use tss_esapi::tcti_ldr::TctiNameConf;

use super::element::{
    ElementError, ElementKind, Health, Opened, SealedConfig, SealedKeys, SecureElement, Stored, TpmError,
};
use crate::counter::{Counter, TokenNumbers};
use chip::Chip;
use numbers::{NvCounter, TpmNumbers};

/// A TPM, by its address. Nothing is open.
#[derive(Clone, Debug)]
pub struct Tpm {
    tcti: String,
    address: TctiNameConf,
}

impl Tpm {
    /// The TPM at this TCTI.
    pub fn at(tcti: &str) -> Result<Self, TpmError> {
        let address = TctiNameConf::from_str(tcti).map_err(|_| TpmError::Tcti(tcti.to_owned()))?;
        Ok(Self { tcti: tcti.to_owned(), address })
    }

    /// Opens it and makes sure that it is the one that sealed these keys.
    fn opened_for(&self, sealed: &SealedKeys) -> Result<Chip, TpmError> {
        let mut chip = Chip::open(self)?;
        chip.require(&sealed.storage_key, &sealed.endorsement_key)?;
        Ok(chip)
    }
}

impl SecureElement for Tpm {
    fn kind(&self) -> ElementKind {
        ElementKind::Tpm
    }

    fn rehearse(&self) -> Result<(), ElementError> {
        let mut chip = Chip::open(self)?;
        let sealed = chip.seal(&[0; 32])?;
        chip.unseal(&sealed)?;
        let counter = NvCounter::define(&mut chip, 0)?;
        Ok(counter.undefine(&mut chip)?)
    }

    fn attest(&self, serial: &DeviceSerial) -> Result<Option<TpmAttestation>, ElementError> {
        let mut chip = Chip::open(self)?;
        Ok(Some(attest::attest(&mut chip, serial)?))
    }

    fn keep(&self, path: &Path, config: DeviceConfig, above: u64) -> Result<Stored, ElementError> {
        let parts = parts::split(&config)?;
        // A camera that changes from a file to a TPM goes on above what it has used.
        let base = Counter::tokens(path).next().map_err(Box::new)?.max(above);
        let mut chip = Chip::open(self)?;
        let objects = parts.iter().map(|part| chip.seal(part)).collect::<Result<_, _>>()?;
        let endorsement_key = hex::encode(chip.endorsement_name()?);
        let counter = match &config.device_key {
            Some(_) => Some(NvCounter::define(&mut chip, base)?.to_string()),
            None => None,
        };
        let tables = parts::tables(&config);
        let DeviceConfig { device_serial, table_id, aggregator_url, manufacturer_cert, network, .. } = config;
        Ok(Stored::Sealed(Box::new(SealedConfig {
            device_serial,
            table_id,
            aggregator_url,
            manufacturer_cert,
            tables,
            network,
            device_certificate: config.device_certificate,
            sealed: SealedKeys {
                element: ElementKind::Tpm.as_str().to_owned(),
                version: parts::VERSION,
                storage_key: hex::encode(chip.storage_name()),
                endorsement_key,
                device_key: config.device_key.is_some(),
                counter,
                objects,
            },
        })))
    }

    fn open(&self, path: &Path, stored: Stored) -> Result<Opened, ElementError> {
        let config = match stored {
            Stored::Sealed(config) => *config,
            Stored::Clear(_) => return Err(ElementError::InFile),
        };
        parts::check(&config)?;
        let mut chip = self.opened_for(&config.sealed)?;
        let parts = config.sealed.objects.iter().map(|object| chip.unseal(object)).collect::<Result<Vec<_>, _>>()?;
        let numbers = match &config.sealed.counter {
            Some(counter) => {
                let counter: NvCounter = counter.parse()?;
                // Said now, and not at the first photograph that is sent.
                counter.require(&mut chip)?;
                TokenNumbers::of(Box::new(TpmNumbers::new(self.clone(), &config.sealed, counter, path)))
            }
            None => TokenNumbers::beside(path),
        };
        drop(chip);
        Ok(Opened { element: ElementKind::Tpm, config: parts::join(config, &parts)?, numbers })
    }

    fn inspect(&self, path: &Path, stored: Stored) -> Result<Health, ElementError> {
        let serial = stored.serial().clone();
        drop(self.open(path, stored)?);
        let mut chip = Chip::open(self)?;
        attest::check(&mut chip, &serial)?;
        Ok(Health { locked_out: chip.is_locked_out()? })
    }

    fn restore_numbers(&self, path: &Path, stored: &Stored, above: u64) -> Result<bool, ElementError> {
        let Stored::Sealed(config) = stored else { return Ok(false) };
        let Some(counter) = &config.sealed.counter else { return Ok(false) };
        let counter: NvCounter = counter.parse()?;
        let _lock = numbers::lock(path).map_err(Box::new)?;
        let mut chip = self.opened_for(&config.sealed)?;
        match counter.require(&mut chip) {
            Ok(()) => Ok(false),
            Err(TpmError::CounterGone { .. }) => {
                counter.restore(&mut chip, above)?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }
}

//! Where a camera's keys are: the secure element.
//!
//! For: [`SecureElement`], with two implementations. [`Software`] keeps the keys in the configuration
//! itself, which nobody else may read; `tpm` (a feature of this crate) seals them to a TPM 2.0, counts
//! tokens in it and has it vouch for itself when the camera is provisioned.
//!
//! Not for: what the keys are good for (`sealer`), or what the authority makes of an attestation.
//!
//! `docs/PROTOCOL.md` section 4. Which element it is stands in the configuration: one with `sealed` needs
//! the TPM that it names.

mod error;
mod stored;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use birthmark_core::api::provision::{DeviceConfig, TpmAttestation};
use birthmark_core::ids::DeviceSerial;

use crate::counter::{Counter, TokenNumbers};

pub use error::{ElementError, TpmError};
pub use stored::{SealedConfig, SealedKeys, SealedObject, Stored};

/// Keeps what the authority handed out.
pub trait SecureElement: fmt::Debug + Send + Sync {
    /// Which one it is.
    fn kind(&self) -> ElementKind;

    /// Whether keys could be kept now. Asked before the authority hands them out, which it does once.
    fn rehearse(&self) -> Result<(), ElementError>;

    /// What shows the authority in which TPM the keys of this camera will be; nothing where there is none.
    fn attest(&self, serial: &DeviceSerial) -> Result<Option<TpmAttestation>, ElementError>;

    /// Gives the configuration the form in which it may lie at `path`. Its tokens get numbers above `above`,
    /// where this element counts them.
    fn keep(&self, path: &Path, config: DeviceConfig, above: u64) -> Result<Stored, ElementError>;

    /// The configuration with its keys, out of what lies at `path`.
    fn open(&self, path: &Path, stored: Stored) -> Result<Opened, ElementError>;

    /// Looks whether the keys at `path` could be used now. Takes no number.
    fn inspect(&self, path: &Path, stored: Stored) -> Result<Health, ElementError>;

    /// Makes the counter of tokens anew if it is gone, so that its numbers begin above `above`, which is
    /// above all that were ever used; says whether it was gone.
    fn restore_numbers(&self, path: &Path, stored: &Stored, above: u64) -> Result<bool, ElementError>;
}

/// A kind of secure element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ElementKind {
    /// A private file.
    #[default]
    Software,
    /// A TPM 2.0.
    Tpm,
}

/// A configuration whose keys can be used.
#[derive(Debug)]
pub struct Opened {
    /// Where the keys come from.
    pub element: ElementKind,
    /// As the authority handed it out.
    pub config: DeviceConfig,
    /// The numbers of its tokens.
    pub numbers: TokenNumbers,
}

/// How a secure element is, when its keys can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it refuses the passwords of other programs, after too many wrong ones.
    pub locked_out: bool,
}

/// What the caller wants.
#[derive(Clone, Debug, Default)]
pub struct ElementChoice {
    /// This kind and no other; else the one that the configuration says, or software for a new one.
    pub kind: Option<ElementKind>,
    /// How to reach the TPM, as tpm2-tss writes it: `device:/dev/tpmrm0` (the default),
    /// `swtpm:host=127.0.0.1,port=2321`.
    pub tcti: Option<String>,
}

/// Keys in the configuration itself.
#[derive(Clone, Copy, Debug)]
pub struct Software;

impl ElementChoice {
    /// The element for a camera that is about to be provisioned.
    pub fn for_new(&self) -> Result<Box<dyn SecureElement>, ElementError> {
        self.element(self.kind.unwrap_or_default())
    }

    /// The element that keeps the keys of this configuration.
    pub fn for_stored(&self, stored: &Stored) -> Result<Box<dyn SecureElement>, ElementError> {
        let kind = stored.element();
        match (self.kind, kind) {
            (Some(ElementKind::Software), ElementKind::Tpm) => Err(ElementError::InTpm),
            (Some(ElementKind::Tpm), ElementKind::Software) => Err(ElementError::InFile),
            _ => self.element(kind),
        }
    }

    fn element(&self, kind: ElementKind) -> Result<Box<dyn SecureElement>, ElementError> {
        let tcti = self.tcti.as_deref().unwrap_or(DEFAULT_TCTI);
        match kind {
            ElementKind::Software => Ok(Box::new(Software)),
            #[cfg(feature = "tpm")]
            ElementKind::Tpm => Ok(Box::new(super::tpm::Tpm::at(tcti)?)),
            #[cfg(not(feature = "tpm"))]
            ElementKind::Tpm => Err(ElementError::NotBuilt { tcti: tcti.to_owned() }),
        }
    }
}

impl SecureElement for Software {
    fn kind(&self) -> ElementKind {
        ElementKind::Software
    }

    fn rehearse(&self) -> Result<(), ElementError> {
        Ok(())
    }

    fn attest(&self, _: &DeviceSerial) -> Result<Option<TpmAttestation>, ElementError> {
        Ok(None)
    }

    fn keep(&self, path: &Path, config: DeviceConfig, above: u64) -> Result<Stored, ElementError> {
        // A camera that had its keys in a TPM has used numbers that the file has never heard of.
        if above > 0 {
            Counter::tokens(path).reserve(1, above).map_err(Box::new)?;
        }
        Ok(Stored::Clear(Box::new(config)))
    }

    fn open(&self, path: &Path, stored: Stored) -> Result<Opened, ElementError> {
        match stored {
            Stored::Clear(config) => Ok(Opened::software(path, *config)),
            Stored::Sealed(_) => Err(ElementError::InTpm),
        }
    }

    fn inspect(&self, path: &Path, stored: Stored) -> Result<Health, ElementError> {
        self.open(path, stored).map(|_| Health::default())
    }

    fn restore_numbers(&self, _: &Path, _: &Stored, _: u64) -> Result<bool, ElementError> {
        // A file that is gone starts anew by itself (`counter`).
        Ok(false)
    }
}

impl Opened {
    /// A configuration that holds its keys, with the counter beside it.
    pub(super) fn software(path: &Path, config: DeviceConfig) -> Self {
        Self { element: ElementKind::Software, config, numbers: TokenNumbers::beside(path) }
    }
}

impl ElementKind {
    /// The word for it on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Tpm => "tpm",
        }
    }
}

impl FromStr for ElementKind {
    type Err = ElementError;

    fn from_str(text: &str) -> Result<Self, ElementError> {
        match text {
            "software" => Ok(Self::Software),
            "tpm" => Ok(Self::Tpm),
            _ => Err(ElementError::UnknownKind),
        }
    }
}

/// As a step of a photograph says it.
impl fmt::Display for ElementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software key, no TPM",
            Self::Tpm => "keys sealed in the TPM",
        })
    }
}

/// The kernel's resource manager, which lets several programs use one TPM.
const DEFAULT_TCTI: &str = "device:/dev/tpmrm0";

#[cfg(test)]
mod tests;

//! A TPM key's public area, read as far as a camera's evidence needs it.
//!
//! For: [`Public`] out of `TPMT_PUBLIC`, and a key's name. Pure; everything is bounded by the input. Not for:
//! what a key may do (the attributes' meaning is in the specification, part 2, section 8.3).

use sha2::{Digest as _, Sha256};

/// A key.
#[derive(Debug)]
pub(super) struct Public {
    pub(super) attributes: Attributes,
    pub(super) unique: Unique,
}

/// What makes it this key. Points are in SEC1's uncompressed form.
#[derive(Debug)]
pub(super) enum Unique {
    Rsa(Vec<u8>),
    P256(Vec<u8>),
    OtherCurve(Vec<u8>),
}

/// `TPMA_OBJECT`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes(u32);

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Public {
    /// An RSA key or one of an elliptic curve, without a byte behind it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let kind = reader.u16()?;
        reader.u16()?;
        let attributes = Attributes(reader.u32()?);
        reader.sized()?;
        if reader.u16()? != NULL {
            // The cipher for what it protects: key size and mode.
            reader.take(4)?;
        }
        let unique = match kind {
            RSA => {
                if reader.u16()? != NULL {
                    reader.take(2)?;
                }
                reader.take(2 + 4)?;
                Unique::Rsa(reader.sized()?.to_vec())
            }
            ECC => {
                if reader.u16()? != NULL {
                    reader.take(2)?;
                }
                let curve = reader.u16()?;
                if reader.u16()? != NULL {
                    reader.take(2)?;
                }
                let width = match curve {
                    P256 => 32,
                    P384 => 48,
                    _ => return None,
                };
                let mut point = vec![4];
                point.extend(padded(reader.sized()?, width)?);
                point.extend(padded(reader.sized()?, width)?);
                if curve == P256 { Unique::P256(point) } else { Unique::OtherCurve(point) }
            }
            _ => return None,
        };
        reader.0.is_empty().then_some(Self { attributes, unique })
    }
}

/// A key's name under SHA-256.
pub(super) fn name(public: &[u8]) -> Vec<u8> {
    [SHA256.to_be_bytes().as_slice(), &Sha256::digest(public)].concat()
}

/// The qualified name of a primary key of the owner hierarchy.
pub(super) fn qualified_by_owner(name: &[u8]) -> Vec<u8> {
    let digest = Sha256::new().chain_update(OWNER.to_be_bytes()).chain_update(name).finalize();
    [SHA256.to_be_bytes().as_slice(), &digest].concat()
}

impl Attributes {
    /// Made in a TPM and never to leave it.
    const fn is_bound(self) -> bool {
        self.0 & BOUND == BOUND
    }

    /// Decrypts for the TPM alone.
    pub(super) const fn is_endorsement(self) -> bool {
        self.is_bound() && self.0 & KIND == RESTRICTED | DECRYPT
    }

    /// Signs what the TPM says alone.
    pub(super) const fn is_attestation(self) -> bool {
        self.is_bound() && self.0 & KIND == RESTRICTED | SIGN
    }

    /// Protects other keys.
    pub(super) const fn is_storage(self) -> bool {
        self.is_endorsement()
    }
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A `TPM2B`.
    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// A TPM may leave out leading zeros.
fn padded(number: &[u8], width: usize) -> Option<Vec<u8>> {
    let zeros = width.checked_sub(number.len())?;
    Some([vec![0; zeros].as_slice(), number].concat())
}

/// `TPM_RH_OWNER`.
const OWNER: u32 = 0x4000_0001;
const RSA: u16 = 0x0001;
const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const ECC: u16 = 0x0023;
const P256: u16 = 0x0003;
const P384: u16 = 0x0004;
/// `fixedTPM`, `fixedParent`, `sensitiveDataOrigin`.
const BOUND: u32 = 1 << 1 | 1 << 4 | 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
const KIND: u32 = RESTRICTED | DECRYPT | SIGN;

//! The public areas from which a TPM makes a camera's keys.
//!
//! For: the same template ever, since a primary key is made anew from its seed and its template each time.
//! Not for: the endorsement key's, which is the Trusted Computing Group's (`tss_esapi::abstraction::ek`).

use sha2::{Digest as _, Sha256};
use tss_esapi::Result;
use tss_esapi::attributes::{NvIndexAttributes, NvIndexAttributesBuilder, ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::constants::NvIndexType;
use tss_esapi::handles::NvIndexTpmHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::structures::{
    EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, KeyedHashScheme, NvPublic,
    NvPublicBuilder, Public, PublicBuilder, PublicEccParametersBuilder, PublicKeyedHashParameters,
    SymmetricDefinitionObject,
};

/// The TCG's storage root key (TPM v2.0 Provisioning Guidance, 7.5.1), ECC P-256.
pub(super) fn storage() -> Result<Public> {
    ecc(
        base().with_sensitive_data_origin(true).with_restricted(true).with_decrypt(true).build()?,
        PublicEccParametersBuilder::new_restricted_decryption_key(
            SymmetricDefinitionObject::AES_128_CFB,
            EccCurve::NistP256,
        ),
        point(&[0; 32])?,
    )
}

/// A restricted signing key of this camera's own: it signs what the TPM itself says, and nothing else.
pub(super) fn attestation(serial: &str) -> Result<Public> {
    let unique = Sha256::new().chain_update(b"birthmark/tpm-attestation-key/v1").chain_update(serial).finalize();
    ecc(
        base().with_sensitive_data_origin(true).with_restricted(true).with_sign_encrypt(true).build()?,
        PublicEccParametersBuilder::new()
            .with_symmetric(SymmetricDefinitionObject::Null)
            .with_ecc_scheme(EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)))
            .with_curve(EccCurve::NistP256)
            .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
            .with_is_signing_key(true)
            .with_restricted(true),
        point(&unique)?,
    )
}

/// Bytes that the TPM keeps for us.
pub(super) fn sealed() -> Result<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(base().build()?)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(tss_esapi::structures::Digest::default())
        .build()
}

/// Eight bytes of non-volatile memory.
pub(super) fn nv(index: u32, kind: NvIndexType) -> Result<NvPublic> {
    NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(index)?)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(nv_attributes(kind)?)
        .with_data_area_size(8)
        .build()
}

/// Not orderly: what is counted must survive a power cut.
fn nv_attributes(kind: NvIndexType) -> Result<NvIndexAttributes> {
    NvIndexAttributesBuilder::new()
        .with_nv_index_type(kind)
        .with_auth_read(true)
        .with_auth_write(true)
        .with_owner_read(true)
        .with_owner_write(true)
        .with_no_da(true)
        .build()
}

/// In this TPM for ever. Without part in the lock-out after wrong passwords, which a power cut counts for
/// as well: a camera is switched off without a word.
fn base() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

fn ecc(attributes: ObjectAttributes, parameters: PublicEccParametersBuilder, unique: EccPoint) -> Result<Public> {
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(unique)
        .build()
}

fn point(x: &[u8]) -> Result<EccPoint> {
    Ok(EccPoint::new(EccParameter::try_from(x)?, EccParameter::try_from([0; 32].as_slice())?))
}

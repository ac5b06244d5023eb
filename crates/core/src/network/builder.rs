//! Writing the file of a new network.

use super::document::{Authority, Document, EpochEntry, FileSignature, Submitter, Validator};
use super::genesis::{Genesis, policy_of};
use super::{File, Network, NetworkError};
use crate::base64;
use crate::ids::{Epoch, Height};
use crate::note::{KeyName, SecretKey};
use crate::time::Minute;

/// What the file of a new network says.
#[derive(Clone, Debug)]
pub struct NetworkBuilder {
    /// The log's name.
    pub origin: KeyName,
    /// The genesis block's minute.
    pub genesis_minute: Minute,
    /// The validators of epoch 0.
    pub validators: Vec<Validator>,
    /// Who vouches for cameras.
    pub authorities: Vec<Authority>,
    /// Who may send transactions.
    pub submitters: Vec<Submitter>,
    /// Seconds after which an absence proof is too old, if not 300.
    pub max_age: Option<u64>,
}

/// A document that waits for its validators' signatures.
#[derive(Clone, Debug)]
pub struct UnsignedNetwork {
    document: Vec<u8>,
}

impl NetworkBuilder {
    /// A network that nobody has joined yet.
    pub const fn new(origin: KeyName, genesis_minute: Minute) -> Self {
        Self {
            origin,
            genesis_minute,
            validators: Vec::new(),
            authorities: Vec::new(),
            submitters: Vec::new(),
            max_age: None,
        }
    }

    /// Fixes the content.
    pub fn build(self) -> Result<UnsignedNetwork, NetworkError> {
        let mut validators = self.validators;
        validators.sort_by_key(|validator| validator.consensus_key);
        let genesis = Genesis::new(self.origin.clone(), self.genesis_minute, validators.clone())?;
        let epoch = EpochEntry {
            epoch: Epoch(0),
            first_height: Some(Height(0)),
            policy: policy_of(&self.origin, &validators)?.to_string(),
            validators,
            last_size: None,
            last_root: None,
        };
        UnsignedNetwork::new(&Document {
            version: 1,
            genesis: base64::encode(genesis.encode()),
            origin: self.origin,
            epochs: vec![epoch],
            authorities: self.authorities,
            submitters: self.submitters,
            max_age: self.max_age,
        })
    }
}

impl UnsignedNetwork {
    pub(super) fn new(document: &Document) -> Result<Self, NetworkError> {
        let document = serde_json::to_vec(document).map_err(NetworkError::Encode)?;
        Ok(Self { document })
    }

    /// A validator's signature, by its log key.
    pub fn signature(&self, log_key: &SecretKey) -> FileSignature {
        FileSignature::new(&self.document, log_key)
    }

    /// The file, and what it says: checked as any reader would, so that what is written can be read.
    pub fn into_file(self, signatures: Vec<FileSignature>) -> Result<(Vec<u8>, Network), NetworkError> {
        let file = File { network: base64::encode(&self.document), signatures, acts: Vec::new() };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(NetworkError::Encode)?;
        bytes.push(b'\n');
        let network = Network::parse(&bytes)?;
        Ok((bytes, network))
    }

    /// Signs with these log keys, which suffices where one party holds all of them.
    pub fn sign(self, log_keys: &[&SecretKey]) -> Result<(Vec<u8>, Network), NetworkError> {
        let signatures = log_keys.iter().map(|key| self.signature(key)).collect();
        self.into_file(signatures)
    }
}

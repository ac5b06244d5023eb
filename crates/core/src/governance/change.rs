//! The bytes of a change, and how it reads to people.

use std::fmt;

use super::{ActError, Change};
use crate::codec::{DecodeError, Reader, put_prefixed16};
use crate::ids::{AuthorityId, AuthorityNumber, SubmitterName, SubmitterNumber};
use crate::network::{
    Authority, EndorsementKey, EndorsementKeyId, EndorsementKeyState, MAX_ENDORSEMENT_KEYS, MAX_SPKI_LEN,
    MinTokenVersion, Rules, Submitter, TokenKey, Validator,
};
use crate::note::PublicKey;

impl Change {
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::AddValidator(validator) => {
                out.push(ADD_VALIDATOR);
                out.extend(validator.key_bytes().into_iter().flatten());
                put_short(out, validator.p2p_address.as_deref().unwrap_or_default());
            }
            Self::RemoveValidator(key) => {
                out.push(REMOVE_VALIDATOR);
                out.extend_from_slice(key.as_bytes());
            }
            Self::SetAuthority(authority) => {
                out.push(SET_AUTHORITY);
                put_authority(out, authority);
            }
            Self::RemoveAuthority(number) => {
                out.push(REMOVE_AUTHORITY);
                out.extend_from_slice(&number.0.to_be_bytes());
            }
            Self::AddSubmitter(submitter) => {
                out.push(ADD_SUBMITTER);
                out.extend_from_slice(&submitter.number.0.to_be_bytes());
                put_short(out, submitter.name.as_str());
                out.extend_from_slice(submitter.key.as_bytes());
            }
            Self::RemoveSubmitter(number) => {
                out.push(REMOVE_SUBMITTER);
                out.extend_from_slice(&number.0.to_be_bytes());
            }
        }
    }

    pub(super) fn decode_from(reader: &mut Reader<'_>) -> Result<Self, ActError> {
        Ok(match reader.u8("kind of change")? {
            ADD_VALIDATOR => {
                let mut key = |field| Ok::<_, ActError>(PublicKey::from_bytes(&reader.array(field)?)?);
                let (consensus_key, log_key) = (key("consensus key")?, key("log key")?);
                let cosigning_key = key("cosigning key")?;
                let address = short(reader, "p2p_address")?;
                let p2p_address = (!address.is_empty()).then_some(address);
                Self::AddValidator(Box::new(Validator { consensus_key, log_key, cosigning_key, p2p_address }))
            }
            REMOVE_VALIDATOR => Self::RemoveValidator(PublicKey::from_bytes(&reader.array("consensus key")?)?),
            SET_AUTHORITY => Self::SetAuthority(Box::new(authority(reader)?)),
            REMOVE_AUTHORITY => Self::RemoveAuthority(AuthorityNumber(reader.be16("authority")?)),
            ADD_SUBMITTER => Self::AddSubmitter(Submitter {
                number: SubmitterNumber(reader.be16("submitter")?),
                name: SubmitterName::new(short(reader, "submitter name")?)?,
                key: PublicKey::from_bytes(&reader.array("submitter key")?)?,
            }),
            REMOVE_SUBMITTER => Self::RemoveSubmitter(SubmitterNumber(reader.be16("submitter")?)),
            other => return Err(value("kind of change", other)),
        })
    }
}

/// One line for whoever is to approve it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddValidator(validator) => {
                let address = validator.p2p_address.as_deref().unwrap_or("no address");
                write!(f, "add validator {} at {address}", validator.consensus_key)
            }
            Self::RemoveValidator(key) => write!(f, "remove validator {key}"),
            Self::SetAuthority(authority) => {
                let (number, keys) = (authority.number.0, authority.endorsement_keys.len());
                write!(f, "set authority {number} \"{}\" with {keys} endorsement keys", authority.id)
            }
            Self::RemoveAuthority(number) => write!(f, "remove authority {}", number.0),
            Self::AddSubmitter(submitter) => {
                write!(f, "add submitter {} \"{}\" with key {}", submitter.number.0, submitter.name, submitter.key)
            }
            Self::RemoveSubmitter(number) => write!(f, "remove submitter {}", number.0),
        }
    }
}

fn put_authority(out: &mut Vec<u8>, authority: &Authority) {
    out.extend_from_slice(&authority.number.0.to_be_bytes());
    put_short(out, authority.id.as_str());
    out.push(match authority.rules.min_token_version {
        MinTokenVersion::V1 => 1,
        MinTokenVersion::V2 => 2,
    });
    match &authority.token_key {
        Some(key) => {
            out.push(1);
            out.extend_from_slice(key.as_bytes());
        }
        None => out.push(0),
    }
    out.push(u8::try_from(authority.endorsement_keys.len()).unwrap_or(u8::MAX));
    for key in &authority.endorsement_keys {
        out.push(match key.state {
            EndorsementKeyState::Current => 0,
            EndorsementKeyState::Previous => 1,
            EndorsementKeyState::Retired => 2,
            EndorsementKeyState::Revoked => 3,
        });
        put_prefixed16(out, &key.spki);
    }
}

fn authority(reader: &mut Reader<'_>) -> Result<Authority, ActError> {
    let number = AuthorityNumber(reader.be16("authority")?);
    let id = AuthorityId::new(short(reader, "authority id")?)?;
    let min_token_version = match reader.u8("min_token_version")? {
        1 => MinTokenVersion::V1,
        2 => MinTokenVersion::V2,
        other => return Err(value("min_token_version", other)),
    };
    let token_key = match reader.u8("token key's presence")? {
        0 => None,
        1 => Some(TokenKey::from_bytes(reader.array("token key")?)),
        other => return Err(value("token key's presence", other)),
    };
    let count = reader.u8("endorsement keys")?;
    if usize::from(count) > MAX_ENDORSEMENT_KEYS {
        return Err(value("endorsement keys", count));
    }
    let keys = (0..count).map(|_| {
        let state = match reader.u8("endorsement key's state")? {
            0 => EndorsementKeyState::Current,
            1 => EndorsementKeyState::Previous,
            2 => EndorsementKeyState::Retired,
            3 => EndorsementKeyState::Revoked,
            other => return Err(value("endorsement key's state", other)),
        };
        let spki = reader.prefixed16("spki", MAX_SPKI_LEN)?.to_vec();
        Ok(EndorsementKey { key_id: EndorsementKeyId::of_spki(&spki), spki, state })
    });
    let endorsement_keys = keys.collect::<Result<_, ActError>>()?;
    Ok(Authority { number, id, token_key, rules: Rules { min_token_version }, endorsement_keys })
}

/// A text behind its length in one byte; the caller holds one that fits.
fn put_short(out: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    debug_assert_eq!(usize::from(len), text.len(), "caller bounds the field");
    out.push(len);
    out.extend_from_slice(text.as_bytes().get(..len.into()).unwrap_or_default());
}

fn short(reader: &mut Reader<'_>, field: &'static str) -> Result<String, ActError> {
    let len = reader.u8(field)?;
    let text = reader.take(field, len.into())?;
    if !text.iter().all(|b| (0x20..0x7f).contains(b)) {
        return Err(DecodeError::Text(field).into());
    }
    String::from_utf8(text.to_vec()).map_err(|_| DecodeError::Text(field).into())
}

fn value(field: &'static str, value: u8) -> ActError {
    DecodeError::Value { field, value: value.into() }.into()
}

const ADD_VALIDATOR: u8 = 1;
const REMOVE_VALIDATOR: u8 = 2;
const SET_AUTHORITY: u8 = 3;
const REMOVE_AUTHORITY: u8 = 4;
const ADD_SUBMITTER: u8 = 5;
const REMOVE_SUBMITTER: u8 = 6;

//! Reading a policy file, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::{Group, LOG_TYPE, Log, MAX_ITEMS, Member, Policy, PolicyError, Quorum, WITNESS_TYPE, Witness};
use crate::checkpoint::parse_decimal;
use crate::note::{PublicKey, SignatureType, VerifierKey};

/// Longest policy file that is read.
pub const MAX_POLICY_LEN: usize = 64 * 1024;

/// The name that stands for "no cosignatures" on a quorum line.
const NONE: &str = "none";

pub(super) fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
    if bytes.len() > MAX_POLICY_LEN {
        return Err(PolicyError::TooLong(bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| PolicyError::NotUtf8)?;
    let mut file = File::default();
    for (at, text) in text.split('\n').enumerate() {
        file.line = at + 1;
        if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err(PolicyError::ControlCharacter { line: file.line });
        }
        let items: Vec<&str> = text.split([' ', '\t']).filter(|item| !item.is_empty()).collect();
        match items.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["log", key] => file.log(key, None)?,
            ["log", key, url] => file.log(key, Some(url))?,
            ["witness", name, key] => file.witness(name, key, None)?,
            ["witness", name, key, url] => file.witness(name, key, Some(url))?,
            ["group", name, threshold, members @ ..] => file.group(name, threshold, members)?,
            ["quorum", name] => file.quorum(name)?,
            _ => return Err(PolicyError::Syntax { line: file.line }),
        }
    }
    let quorum = file.quorum.ok_or(PolicyError::QuorumLines)?;
    Ok(Policy { logs: file.logs, witnesses: file.witnesses, groups: file.groups, quorum })
}

/// What has been read so far.
#[derive(Default)]
struct File {
    line: usize,
    logs: Vec<Log>,
    log_keys: BTreeSet<PublicKey>,
    witnesses: Vec<Witness>,
    witness_keys: BTreeSet<PublicKey>,
    groups: Vec<Group>,
    names: BTreeMap<String, Member>,
    grouped: BTreeSet<String>,
    quorum: Option<Quorum>,
}

impl File {
    fn log(&mut self, key: &str, url: Option<&str>) -> Result<(), PolicyError> {
        let key = self.key(key, LOG_TYPE)?;
        if !self.log_keys.insert(*key.public_key()) {
            return Err(PolicyError::DuplicateKey { line: self.line });
        }
        self.check_room(self.logs.len())?;
        self.logs.push(Log { key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), PolicyError> {
        let key = self.key(key, WITNESS_TYPE)?;
        if !self.witness_keys.insert(*key.public_key()) {
            return Err(PolicyError::DuplicateKey { line: self.line });
        }
        self.check_room(self.witnesses.len())?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.to_owned(), key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, names: &[&str]) -> Result<(), PolicyError> {
        if names.is_empty() {
            return Err(PolicyError::Syntax { line: self.line });
        }
        self.check_room(self.groups.len())?;
        let mut members = Vec::with_capacity(names.len().min(2 * MAX_ITEMS));
        for member in names {
            members.push(self.defined(member)?);
            if !self.grouped.insert((*member).to_owned()) {
                return Err(PolicyError::MemberTwice { line: self.line });
            }
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            number => parse_decimal(number)
                .and_then(|k| usize::try_from(k).ok())
                .filter(|k| (1..=members.len()).contains(k))
                .ok_or(PolicyError::Threshold { line: self.line })?,
        };
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: name.to_owned(), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), PolicyError> {
        let quorum = if name == NONE { Quorum::None } else { Quorum::Of(self.defined(name)?) };
        match self.quorum.replace(quorum) {
            None => Ok(()),
            Some(_) => Err(PolicyError::QuorumLines),
        }
    }

    fn key(&self, text: &str, kind: SignatureType) -> Result<VerifierKey, PolicyError> {
        let line = self.line;
        let key = VerifierKey::from_str(text).map_err(|cause| PolicyError::Key { line, cause })?;
        if key.kind() == kind { Ok(key) } else { Err(PolicyError::KeyType { line }) }
    }

    fn defined(&self, name: &str) -> Result<Member, PolicyError> {
        self.names.get(name).copied().ok_or(PolicyError::UndefinedName { line: self.line })
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), PolicyError> {
        if name == NONE || self.names.insert(name.to_owned(), member).is_some() {
            return Err(PolicyError::Name { line: self.line });
        }
        Ok(())
    }

    const fn check_room(&self, present: usize) -> Result<(), PolicyError> {
        if present < MAX_ITEMS { Ok(()) } else { Err(PolicyError::TooMany { line: self.line }) }
    }
}

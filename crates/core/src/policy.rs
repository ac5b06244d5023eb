//! Policies: which logs are accepted, and whose cosignatures suffice.
//!
//! For: verifiers that are given a C2SP policy file, and the policy that follows from a set of
//! validators.
//!
//! Not for: checking signatures (`checkpoint`), or authorities and submitters, which a policy cannot
//! name (`network`).
//!
//! Format: C2SP tlog-policy; `docs/PROTOCOL.md` sections 1 and 8. Text must be UTF-8, which C2SP
//! recommends; keys must be of a type that can be checked here, or the policy is refused.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>…
//! quorum <name>|none
//! ```

mod parse;

use std::fmt;

use crate::note::{KeyError, SignatureType, VerifierKey};

pub use self::parse::MAX_POLICY_LEN;

/// Most logs, most witnesses and most groups.
pub const MAX_ITEMS: usize = 64;

/// Which logs are accepted, and whose cosignatures suffice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// An accepted log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    key: VerifierKey,
    url: Option<String>,
}

/// A known cosigner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: String,
    key: VerifierKey,
    url: Option<String>,
}

/// So many of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<Member>,
}

/// A witness or a group, by its place among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    None,
    Of(Member),
}

/// Why a policy was refused. `line` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_POLICY_LEN`].
    #[error("a policy of {0} bytes is too long")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the policy is not UTF-8")]
    NotUtf8,
    /// A control character other than tab and newline.
    #[error("policy line {line}: control character")]
    ControlCharacter {
        /// Where.
        line: usize,
    },
    /// An unknown keyword, or too few or too many items.
    #[error("policy line {line}: not a log, witness, group or quorum line")]
    Syntax {
        /// Where.
        line: usize,
    },
    /// A verifier key that cannot be used.
    #[error("policy line {line}: {cause}")]
    Key {
        /// Where.
        line: usize,
        /// What is wrong with it.
        cause: KeyError,
    },
    /// A log key on a witness line or the reverse.
    #[error("policy line {line}: the key is of the wrong type for its line")]
    KeyType {
        /// Where.
        line: usize,
    },
    /// A key that an earlier line has, under whatever name.
    #[error("policy line {line}: the key occurs twice")]
    DuplicateKey {
        /// Where.
        line: usize,
    },
    /// A name that is taken, or the reserved name `none`.
    #[error("policy line {line}: the name is taken or reserved")]
    Name {
        /// Where.
        line: usize,
    },
    /// A name that no earlier line defines.
    #[error("policy line {line}: the name is not defined above")]
    UndefinedName {
        /// Where.
        line: usize,
    },
    /// A name that is already a member of a group.
    #[error("policy line {line}: the name is a member of a group already")]
    MemberTwice {
        /// Where.
        line: usize,
    },
    /// A threshold of 0 or above the number of members.
    #[error("policy line {line}: the threshold is not within 1 and the number of members")]
    Threshold {
        /// Where.
        line: usize,
    },
    /// More than [`MAX_ITEMS`] of one kind.
    #[error("policy line {line}: more than 64 logs, witnesses or groups")]
    TooMany {
        /// Where.
        line: usize,
    },
    /// Not exactly one quorum line.
    #[error("a policy has exactly one quorum line")]
    QuorumLines,
}

/// One validator as a policy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyMember {
    /// A name without white space, for the policy file alone.
    pub name: String,
    /// The key by which it signs checkpoints as the log.
    pub log: VerifierKey,
    /// The key by which it cosigns them.
    pub cosigner: VerifierKey,
}

/// How many of `n` validators must agree: `n - floor((n - 1) / 3)`, more than two thirds.
pub const fn quorum_size(n: usize) -> usize {
    n - n.saturating_sub(1) / 3
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        parse::parse(bytes)
    }

    /// The policy of a network: each validator's log key, and a quorum of their cosigning keys.
    ///
    /// ```text
    /// log <vkey>                        one line a validator
    /// witness <name> <vkey>             one line a validator
    /// group validators <k> <name>…
    /// quorum validators
    /// ```
    pub fn of_validators(members: &[PolicyMember]) -> Result<Self, PolicyError> {
        use std::fmt::Write as _;
        let mut text = String::new();
        for member in members {
            let _ = writeln!(text, "log {}", member.log);
        }
        for member in members {
            let _ = writeln!(text, "witness {} {}", member.name, member.cosigner);
        }
        let _ = write!(text, "group validators {}", quorum_size(members.len()));
        for member in members {
            let _ = write!(text, " {}", member.name);
        }
        text.push_str("\nquorum validators\n");
        // Through the parser, so that nothing can be written that would not be read.
        Self::parse(text.as_bytes())
    }

    /// The accepted logs.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The known cosigners.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether the quorum is reached by the witnesses for which `cosigned` holds, which is asked with
    /// places in [`Self::witnesses`].
    pub fn is_satisfied_by(&self, cosigned: impl Fn(usize) -> bool) -> bool {
        // Groups name only what stands above them, so one pass from the top decides them all.
        let mut reached: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let count = group.members.iter().filter(|member| holds(**member, &cosigned, &reached)).count();
            reached.push(count >= group.threshold);
        }
        match self.quorum {
            Quorum::None => true,
            Quorum::Of(member) => holds(member, &cosigned, &reached),
        }
    }

    /// Whether the witness at this place can contribute to the quorum at all.
    pub fn counts(&self, witness: usize) -> bool {
        let Quorum::Of(quorum) = self.quorum else { return false };
        let mut pending = vec![quorum];
        // A name is a member of one group at most, so this visits each once.
        while let Some(member) = pending.pop() {
            match member {
                Member::Witness(at) if at == witness => return true,
                Member::Witness(_) => {}
                Member::Group(at) => pending.extend(self.groups.get(at).into_iter().flat_map(|g| &g.members)),
            }
        }
        false
    }

    fn name_of(&self, member: Member) -> &str {
        match member {
            Member::Witness(at) => self.witnesses.get(at).map_or("", |witness| &witness.name),
            Member::Group(at) => self.groups.get(at).map_or("", |group| &group.name),
        }
    }
}

fn holds(member: Member, cosigned: &impl Fn(usize) -> bool, reached: &[bool]) -> bool {
    match member {
        Member::Witness(at) => cosigned(at),
        Member::Group(at) => reached.get(at).copied().unwrap_or(false),
    }
}

impl Log {
    /// The log's key, whose name is its origin.
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where it can be reached, if the file says so.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

impl Witness {
    /// The name within the policy file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cosigner's key.
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where it can be reached, if the file says so.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

/// The file's text, without comments and with numeric thresholds.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = |url: &Option<String>| url.as_ref().map(|url| format!(" {url}")).unwrap_or_default();
        for log in &self.logs {
            writeln!(f, "log {}{}", log.key, url(&log.url))?;
        }
        for witness in &self.witnesses {
            writeln!(f, "witness {} {}{}", witness.name, witness.key, url(&witness.url))?;
        }
        for group in &self.groups {
            write!(f, "group {} {}", group.name, group.threshold)?;
            for member in &group.members {
                write!(f, " {}", self.name_of(*member))?;
            }
            writeln!(f)?;
        }
        match self.quorum {
            Quorum::None => writeln!(f, "quorum none"),
            Quorum::Of(member) => writeln!(f, "quorum {}", self.name_of(member)),
        }
    }
}

/// The type that a key on a `log` line must have.
const LOG_TYPE: SignatureType = SignatureType::Ed25519;

/// The type that a key on a `witness` line must have.
const WITNESS_TYPE: SignatureType = SignatureType::CosignatureV1;

#[cfg(test)]
mod tests;

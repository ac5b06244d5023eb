//! Where the store keeps what it knows of acts of governance.

/// The key of what is kept for an act.
pub(crate) fn act_key(kind: &str, number: [u8; 4]) -> Vec<u8> {
    [kind.as_bytes(), &number].concat()
}

pub(crate) const ACTS: &str = "acts";
pub(crate) const ACT: &str = "act";
pub(crate) const CLOSING: &str = "closing";

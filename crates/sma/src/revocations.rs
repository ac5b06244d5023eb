//! The public list of revoked devices.
//!
//! For: anybody who knows a camera's serial and wants to know whether it is revoked, a buyer of a used one
//! for instance. Not for: verdicts, which look into the registry itself and never here.
//!
//! Format (`docs/PROTOCOL.md` section 4):
//! ```text
//! entry     = SHA-256("birthmark/revoked/v1" ‖ serial)
//! page      = the entries above `after`, in rising order, at most 1,000
//! signature = Ed25519 by the CA's key over "birthmark/revocations/v1" ‖ u8 len ‖ authority_id ‖ be64 time
//!             ‖ after (32; zeros for the first page) ‖ u8 more (0 or 1) ‖ be16 n ‖ n × entry
//! ```
//! A page says of all values from `after` to its last entry, or to the greatest there is if there is no
//! more, which of them were revoked at `time`. Entries are in the order of their digests and not of the
//! registry: the list tells neither how many devices there are nor when one was registered.

use std::sync::Arc;
use std::time::Duration;

use birthmark_core::hash::Digest;
use birthmark_core::hex;
use birthmark_core::ids::{AuthorityId, DeviceSerial};
use birthmark_core::note::{PublicKey, SecretKey};
use birthmark_core::time::{Clock, UnixSeconds};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::devices::{Page, Which};
use crate::store::{Store, StoreError};

/// The list as it was read a moment ago, so that the public cannot keep the database busy.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    kept: Mutex<Kept>,
    /// One reads, the others wait for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    list: Option<Arc<RevocationList>>,
    /// Counts revocations, so that a list that was read before one is not kept after it.
    changes: u64,
}

/// All revoked devices at one time.
#[derive(Debug)]
pub(crate) struct RevocationList {
    time: UnixSeconds,
    /// Rising.
    entries: Vec<Digest>,
}

/// A part of the list, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationPage {
    /// Whose devices.
    pub authority_id: AuthorityId,
    /// When this was true.
    pub time: UnixSeconds,
    /// The last entry of the page before; null for the first page.
    pub after: Option<String>,
    /// 64 hex digits each, rising.
    pub revoked: Vec<String>,
    /// What to ask for next; null after the last page.
    pub next: Option<String>,
    /// 128 hex digits.
    pub signature: String,
}

/// Why a page is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the page of revocations is malformed or not signed by this key")]
pub struct RevocationPageError;

/// What stands in the list for a device.
pub fn revocation_entry(serial: &DeviceSerial) -> Digest {
    Digest::of_parts(&[b"birthmark/revoked/v1", serial.as_str().as_bytes()])
}

impl Revocations {
    /// What was read is out of date.
    pub(crate) fn forget(&self) {
        let mut kept = self.kept.lock();
        kept.list = None;
        kept.changes = kept.changes.wrapping_add(1);
    }

    /// The list, at most [`KEPT_FOR`] old; older than the latest revocation by this process it never is.
    pub(crate) async fn list(&self, store: &dyn Store, clock: &dyn Clock) -> Result<Arc<RevocationList>, StoreError> {
        if let Some(list) = self.fresh(clock.now()) {
            return Ok(list);
        }
        let _reading = self.reading.lock().await;
        // Another may have read it meanwhile.
        let now = clock.now();
        if let Some(list) = self.fresh(now) {
            return Ok(list);
        }
        let changes = self.kept.lock().changes;
        let list = Arc::new(read(store, now).await?);
        let mut kept = self.kept.lock();
        if kept.changes == changes {
            kept.list = Some(Arc::clone(&list));
        }
        Ok(list)
    }

    fn fresh(&self, now: UnixSeconds) -> Option<Arc<RevocationList>> {
        let list = self.kept.lock().list.clone()?;
        (now.0.abs_diff(list.time.0) < KEPT_FOR.as_secs()).then_some(list)
    }
}

async fn read(store: &dyn Store, time: UnixSeconds) -> Result<RevocationList, StoreError> {
    let mut page = Page { which: Which::Revoked, after: None, limit: READ_AT_ONCE };
    let mut entries = Vec::new();
    loop {
        let devices = store.devices(page).await?;
        entries.extend(devices.iter().map(|device| revocation_entry(&device.serial)));
        match devices.last() {
            Some(last) => page.after = Some(last.id),
            None => break,
        }
    }
    Ok(RevocationList::new(time, entries))
}

impl RevocationList {
    fn new(time: UnixSeconds, mut entries: Vec<Digest>) -> Self {
        entries.sort_unstable_by_key(|entry| *entry.as_bytes());
        Self { time, entries }
    }

    /// The entries above `after`.
    pub(crate) fn page(&self, after: Option<Digest>, authority: &AuthorityId, key: &SecretKey) -> RevocationPage {
        let start = after.map_or(0, |after| self.entries.partition_point(|entry| entry.as_bytes() <= after.as_bytes()));
        let rest = self.entries.get(start..).unwrap_or_default();
        let (entries, more) =
            rest.split_at_checked(ENTRIES_A_PAGE).map_or((rest, false), |(entries, left)| (entries, !left.is_empty()));
        let signature = key.sign(&message(authority, self.time, after, more, entries));
        let text = |digest: &Digest| hex::encode(digest.as_bytes());
        RevocationPage {
            authority_id: authority.clone(),
            time: self.time,
            after: after.as_ref().map(text),
            revoked: entries.iter().map(text).collect(),
            next: entries.last().filter(|_| more).map(text),
            signature: hex::encode(signature),
        }
    }
}

impl RevocationPage {
    /// The page's entries, if the key signed them.
    pub fn check(&self, key: &PublicKey) -> Result<Vec<Digest>, RevocationPageError> {
        let digest = |text: &String| Digest::from_hex(text).map_err(|_| RevocationPageError);
        let entries = self.revoked.iter().map(digest).collect::<Result<Vec<_>, _>>()?;
        let after = self.after.as_ref().map(digest).transpose()?;
        if entries.len() > ENTRIES_A_PAGE || self.next.is_some() && self.next.as_ref() != self.revoked.last() {
            return Err(RevocationPageError);
        }
        let signature = hex::decode_array::<64>(&self.signature).map_err(|_| RevocationPageError)?;
        let signed = message(&self.authority_id, self.time, after, self.next.is_some(), &entries);
        if key.verifies(&signed, &signature) { Ok(entries) } else { Err(RevocationPageError) }
    }
}

fn message(
    authority: &AuthorityId,
    time: UnixSeconds,
    after: Option<Digest>,
    more: bool,
    entries: &[Digest],
) -> Vec<u8> {
    let name = authority.as_str().as_bytes();
    let mut message = b"birthmark/revocations/v1".to_vec();
    // An authority's name has at most 64 characters, a page at most 1,000 entries.
    message.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    message.extend_from_slice(name);
    message.extend_from_slice(&time.0.to_be_bytes());
    message.extend_from_slice(after.as_ref().map_or(&[0; 32], |after| after.as_bytes()));
    message.push(u8::from(more));
    message.extend_from_slice(&u16::try_from(entries.len()).unwrap_or(u16::MAX).to_be_bytes());
    for entry in entries {
        message.extend_from_slice(entry.as_bytes());
    }
    message
}

/// How old the list may be where another server of the authority revoked a device.
const KEPT_FOR: Duration = Duration::from_mins(1);
const ENTRIES_A_PAGE: usize = 1000;
const READ_AT_ONCE: u32 = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SecretKey {
        SecretKey::from_seed(&[7; 32])
    }

    fn authority() -> AuthorityId {
        AuthorityId::new("SIMULATED_MFG_001").unwrap()
    }

    fn list(count: u32) -> RevocationList {
        let entries = (0..count).map(|n| revocation_entry(&DeviceSerial::new(format!("CAM_{n}")).unwrap()));
        RevocationList::new(UnixSeconds(1_733_259_600), entries.collect())
    }

    fn page(list: &RevocationList, after: Option<Digest>) -> RevocationPage {
        list.page(after, &authority(), &key())
    }

    /// By Python's `hashlib` and `cryptography`.
    #[test]
    fn entry_and_signature_have_their_known_answers() {
        let page = page(&list(2), None);
        assert_eq!(page.revoked, KNOWN_ENTRIES);
        assert_eq!(page.signature, KNOWN_SIGNATURE);
    }

    const KNOWN_ENTRIES: [&str; 2] = [
        "1440478cbfc1ff5fa533366c38356034ad8ee547bf3a8eee31b63c40ec3662a4",
        "778ea51289037e926a9bbbbc03a1cd049f52e532bb69d1982e855c19fdc82a53",
    ];
    const KNOWN_SIGNATURE: &str = "665e45302d0fc991207dafaa27e1f92f4c65700cf869160bd0a530ed4478b2e791a56d3508385b6b6f68359e349b131e6c5dd72ff416f3078460edbd6c88c20c";

    #[test]
    fn pages_together_are_the_list_and_each_is_signed() {
        let list = list(2500);
        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = page(&list, after);
            seen.extend(page.check(&key().public_key()).unwrap());
            pages += 1;
            match &page.next {
                Some(next) => after = Some(Digest::from_hex(next).unwrap()),
                None => break,
            }
        }
        assert_eq!((seen, pages), (list.entries.clone(), 3));
        let exact = RevocationList { entries: list.entries[..1000].to_vec(), ..list };
        let exact = page(&exact, None);
        assert_eq!((exact.revoked.len(), exact.next), (1000, None));
    }

    #[test]
    fn a_page_after_any_digest_holds_what_is_above_it() {
        let list = list(3);
        let first = list.entries[0];
        assert_eq!(page(&list, Some(first)).check(&key().public_key()).unwrap(), list.entries[1..]);
        assert_eq!(page(&list, Some(Digest::from_bytes([0; 32]))).revoked.len(), 3);
        let none = page(&list, Some(Digest::from_bytes([0xff; 32])));
        assert_eq!((none.revoked.len(), none.next.as_deref()), (0, None));
    }

    #[test]
    fn a_changed_page_is_not_believed() {
        let (good, public) = (page(&list(3), None), key().public_key());
        assert!(good.check(&public).is_ok());
        assert_eq!(good.check(&SecretKey::from_seed(&[8; 32]).public_key()), Err(RevocationPageError));
        let changes: [fn(&mut RevocationPage); 8] = [
            |page| page.authority_id = AuthorityId::new("ANOTHER").unwrap(),
            |page| page.time.0 += 1,
            |page| page.after = Some("00".repeat(31) + "01"),
            |page| drop(page.revoked.pop()),
            |page| page.revoked.swap(0, 1),
            |page| page.next = page.revoked.last().cloned(),
            |page| page.revoked[0] = "zz".to_owned(),
            |page| page.signature.replace_range(..2, "zz"),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = good.clone();
            change(&mut other);
            assert_eq!(other.check(&public), Err(RevocationPageError), "{number}");
        }
    }

    proptest! {
        #[test]
        fn page_survives_json_and_any_flipped_digit_is_noticed(count in 0u32..5, place: prop::sample::Index) {
            let page = page(&list(count), None);
            let json = serde_json::to_vec(&page).unwrap();
            let mut read: RevocationPage = birthmark_core::json::from_slice(&json).unwrap();
            prop_assert_eq!(&read, &page);
            let at = place.index(read.signature.len());
            let flipped = if read.signature.as_bytes()[at] == b'0' { "1" } else { "0" };
            read.signature.replace_range(at..=at, flipped);
            prop_assert_eq!(read.check(&key().public_key()), Err(RevocationPageError));
        }
    }
}

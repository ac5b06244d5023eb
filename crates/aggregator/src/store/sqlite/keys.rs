//! Keys of tokens at rest, one a row, destroyed at its verdict.
//!
//! For: making a token unreadable wherever copies of its row are: in the write-ahead log, in free pages, in
//! backups. Only its key is erased, in a file that is overwritten in place and has no copies. Not for:
//! PostgreSQL, whose rows others must be able to take over.
//!
//! ```text
//! token.keys    32 random bytes a slot
//! row           key_slot, and AES-256-GCM(key, nonce 0, request_id (16) ‖ token, associated: receipt (16))
//! ```
//! Every slot holds a durable random key before a row gets it, so taking one costs no flush. A slot is
//! overwritten with the next random key, by a thread of its own, once the verdict is durable; what a crash
//! left in between is overwritten at the next start. No key is used twice, so its nonce may stand still.
//!
//! What no program can promise: that a disk which moves its blocks (flash, copy on write) keeps no older one.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use birthmark_service::random::OsRng;
use birthmark_service::secret_file;
use parking_lot::Mutex;
use rand_core::Rng;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The file's name in the data folder.
pub(super) const KEYS_FILE: &str = "token.keys";

/// A key's place in the file.
pub(super) type Slot = u32;

/// The file and its free slots.
#[derive(Debug)]
pub(super) struct TokenKeys {
    slots: Arc<Slots>,
    /// None once closed.
    eraser: Mutex<Option<Eraser>>,
}

/// The thread that overwrites keys.
#[derive(Debug)]
struct Eraser {
    /// Slots whose rows have their verdict.
    slots: mpsc::Sender<Vec<Slot>>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Slots {
    path: PathBuf,
    file: File,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    slots: Vec<Slot>,
    /// Slots in the file.
    count: Slot,
}

/// Why a token cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("the key of a token cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("a token does not open with its key")]
    Forged,
}

impl TokenKeys {
    /// Opens the file, or makes it. Every key that is not of a row in `in_use` is overwritten.
    pub(super) fn open(path: &Path, in_use: &BTreeSet<Slot>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let count = Slot::try_from(file.metadata()?.len() / KEY as u64).unwrap_or(Slot::MAX);
        let slots = Slots { path: path.to_owned(), file, free: Mutex::new(Free { slots: Vec::new(), count }) };
        slots.renew((0..count).filter(|slot| !in_use.contains(slot)).collect())?;
        if slots.free.lock().slots.len() < usize::try_from(GROWTH).unwrap_or(0) {
            slots.grow()?;
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        secret_file::sync_folder(folder).map_err(io::Error::other)?;
        let slots = Arc::new(slots);
        let (sender, receiver) = mpsc::channel();
        let this = Arc::clone(&slots);
        let thread = std::thread::Builder::new().name("key-eraser".to_owned()).spawn(move || this.erase(&receiver))?;
        Ok(Self { slots, eraser: Mutex::new(Some(Eraser { slots: sender, thread })) })
    }

    /// Seals a token under a key that no other row has. Blocks, now and then for a flush.
    pub(super) fn seal(&self, receipt: Uuid, text: &[u8]) -> io::Result<(Slot, Vec<u8>)> {
        let slot = self.slots.take()?;
        let cipher = self.slots.cipher(slot)?;
        let mut sealed = text.to_vec();
        // GCM refuses only texts beyond 64 GiB.
        let tag = cipher
            .encrypt_inout_detached(&Nonce::default(), receipt.as_bytes(), sealed.as_mut_slice().into())
            .map_err(io::Error::other)?;
        sealed.extend_from_slice(&tag);
        Ok((slot, sealed))
    }

    /// Opens what [`TokenKeys::seal`] made, unless its key was destroyed.
    pub(super) fn open_token(&self, slot: Slot, receipt: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or(OpenError::Forged)?;
        let mut text = Zeroizing::new(text.to_vec());
        self.slots
            .cipher(slot)?
            .decrypt_inout_detached(&Nonce::default(), receipt.as_bytes(), text.as_mut_slice().into(), &Tag::from(*tag))
            .map_err(|_| OpenError::Forged)?;
        Ok(text)
    }

    /// The rows of these slots have durable verdicts: their keys go, soon.
    pub(super) fn destroy(&self, slots: Vec<Slot>) {
        if !slots.is_empty()
            && let Some(eraser) = &*self.eraser.lock()
        {
            // An error means that the thread has ended; the next start overwrites the keys.
            let _ = eraser.slots.send(slots);
        }
    }

    /// Destroys what waits. Blocks.
    pub(super) fn close(&self) {
        let eraser = self.eraser.lock().take();
        if let Some(Eraser { slots, thread }) = eraser {
            drop(slots);
            // It never panics; if it did, the next start overwrites the keys.
            let _ = thread.join();
        }
    }
}

impl Slots {
    fn take(&self) -> io::Result<Slot> {
        loop {
            if let Some(slot) = self.free.lock().slots.pop() {
                return Ok(slot);
            }
            self.grow()?;
        }
    }

    fn grow(&self) -> io::Result<()> {
        let first = {
            let mut free = self.free.lock();
            let first = free.count;
            free.count = first.checked_add(GROWTH).ok_or_else(|| io::Error::other("too many keys"))?;
            first
        };
        self.renew((first..first + GROWTH).collect())
    }

    /// Overwrites these keys with fresh ones, which are free once they are durable.
    fn renew(&self, slots: Vec<Slot>) -> io::Result<()> {
        let mut keys = Zeroizing::new(vec![0; RUN * KEY]);
        // Neighbours with one write.
        let runs = slots.chunk_by(|one, next| one.checked_add(1) == Some(*next)).flat_map(|run| run.chunks(RUN));
        for run in runs {
            let Some((first, keys)) = run.first().zip(keys.get_mut(..run.len() * KEY)) else { continue };
            OsRng.fill_bytes(keys);
            self.file.write_all_at(keys, u64::from(*first) * KEY as u64)?;
        }
        self.file.sync_data()?;
        self.free.lock().slots.extend(slots);
        Ok(())
    }

    fn cipher(&self, slot: Slot) -> io::Result<Aes256Gcm> {
        let mut key = Zeroizing::new([0; KEY]);
        self.file.read_exact_at(&mut *key, u64::from(slot) * KEY as u64)?;
        Ok(Aes256Gcm::new((&*key).into()))
    }

    /// What waits goes together, with one flush.
    fn erase(&self, receiver: &mpsc::Receiver<Vec<Slot>>) {
        while let Ok(mut slots) = receiver.recv() {
            slots.extend(receiver.try_iter().flatten());
            slots.sort_unstable();
            if let Err(error) = self.renew(slots) {
                let path = self.path.display();
                tracing::error!(%path, %error, "keys of judged tokens could not be destroyed; the next start does it");
            }
        }
    }
}

const KEY: usize = 32;
const TAG: usize = 16;
/// Slots by which the file grows: 128 KiB.
const GROWTH: Slot = 4096;
/// Keys of one write.
const RUN: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIPT: Uuid = Uuid::from_u128(7);

    fn open(path: &Path, in_use: &[Slot]) -> TokenKeys {
        TokenKeys::open(path, &in_use.iter().copied().collect()).unwrap()
    }

    #[test]
    fn token_opens_with_its_own_key_and_receipt_until_the_key_is_destroyed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEYS_FILE);
        let keys = open(&path, &[]);
        let (slot, sealed) = keys.seal(RECEIPT, b"a token").unwrap();
        let (other, _) = keys.seal(RECEIPT, b"a token").unwrap();
        assert_ne!(slot, other);
        assert!(!sealed.windows(5).any(|window| window == b"token"));
        let opened = |keys: &TokenKeys, slot, receipt, sealed: &[u8]| {
            keys.open_token(slot, receipt, sealed).ok().map(|text| text.to_vec())
        };
        assert_eq!(opened(&keys, slot, RECEIPT, &sealed).unwrap(), b"a token");
        assert_eq!(opened(&keys, other, RECEIPT, &sealed), None);
        assert_eq!(opened(&keys, slot, Uuid::from_u128(8), &sealed), None);
        assert_eq!(opened(&keys, slot, RECEIPT, &sealed[..sealed.len() - 1]), None);
        assert_eq!(opened(&keys, slot, RECEIPT, b"short"), None);
        keys.close();

        let keys = open(&path, &[slot]);
        assert_eq!(opened(&keys, slot, RECEIPT, &sealed).unwrap(), b"a token");
        let before = std::fs::read(&path).unwrap();
        let key = &before[slot as usize * KEY..][..KEY];
        keys.destroy(vec![slot]);
        keys.close();
        let after = std::fs::read(&path).unwrap();
        assert!(!after.windows(KEY).any(|window| window == key), "the key is still there");
        assert_eq!(opened(&keys, slot, RECEIPT, &sealed), None);
    }

    #[test]
    fn start_overwrites_every_key_that_no_row_uses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEYS_FILE);
        open(&path, &[]).close();
        let before = std::fs::read(&path).unwrap();
        open(&path, &[3, 100]).close();
        let after = std::fs::read(&path).unwrap();
        let kept: Vec<_> = before
            .chunks(KEY)
            .zip(after.chunks(KEY))
            .enumerate()
            .filter(|(_, (a, b))| a == b)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(kept, [3, 100]);
    }

    #[test]
    fn file_grows_when_all_keys_are_taken_and_none_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEYS_FILE);
        let keys = open(&path, &[]);
        let taken: BTreeSet<_> = (0..5000).map(|_| keys.seal(RECEIPT, b"x").unwrap().0).collect();
        assert_eq!(taken.len(), 5000);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * u64::from(GROWTH) * KEY as u64);
        keys.destroy(taken.into_iter().collect());
        keys.close();
        assert_eq!(keys.slots.free.lock().slots.len(), 2 * GROWTH as usize);
        let distinct: BTreeSet<_> = std::fs::read(&path).unwrap().chunks(KEY).map(<[u8]>::to_vec).collect();
        assert_eq!(distinct.len(), 2 * GROWTH as usize);
    }
}

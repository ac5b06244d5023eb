//! The key under which the master key is sealed, and where it is read from.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use birthmark_core::hex;
use birthmark_service::secret_file::{self, SecretFileError};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::CHECK_BYTES;

/// Seals the master key; lies outside the data directory.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct WrappingKey([u8; 32]);

/// Why no wrapping key could be read.
#[derive(Debug, thiserror::Error)]
pub enum WrappingKeyError {
    /// The file cannot be read, or others can read it.
    #[error("wrapping key: {0}")]
    File(#[from] SecretFileError),
    /// The credential is there and cannot be read.
    #[error("wrapping key: {}: {source}", path.display())]
    Credential {
        /// The credential's file.
        path: PathBuf,
        /// The system's cause.
        source: io::Error,
    },
    /// The credential can be read by every user, so systemd did not put it there.
    #[error("wrapping key: {}: every user can read it; it must come from LoadCredentialEncrypted=", path.display())]
    CredentialIsPublic {
        /// The credential's file.
        path: PathBuf,
    },
    /// Neither form of a key.
    #[error("wrapping key: {}: neither 32 bytes nor 64 hex digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl WrappingKey {
    /// Takes 32 raw bytes, or 64 hex digits and optionally a line feed. None for anything else.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        if let Ok(raw) = <[u8; 32]>::try_from(content) {
            return Some(Self(raw));
        }
        let digits = content.strip_suffix(b"\n").unwrap_or(content);
        hex::decode_array(std::str::from_utf8(digits).ok()?).ok().map(Self)
    }

    /// Reads a file that only this process's user can read.
    pub(crate) fn read(path: &Path) -> Result<Self, WrappingKeyError> {
        let content = secret_file::read(path, MAX_FILE)?;
        Self::parse(&content).ok_or_else(|| WrappingKeyError::Malformed { path: path.to_owned() })
    }

    /// Reads `sma-key` in systemd's `$CREDENTIALS_DIRECTORY`; none if there is no such credential.
    ///
    /// Not with [`Self::read`]: for a service with a user of its own, systemd leaves the file to root
    /// and lets the service in by an access list, whose mask shows as the group's bits (mode 0440).
    /// What must not be is that everyone can read it.
    pub(crate) fn read_credential(directory: &Path) -> Result<Option<Self>, WrappingKeyError> {
        let path = directory.join(CREDENTIAL);
        let failed = |source| WrappingKeyError::Credential { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.mode() & 0o007 != 0 {
            return Err(WrappingKeyError::CredentialIsPublic { path });
        }
        // Of fixed size, so that growing leaves no copies behind.
        let mut content = Zeroizing::new([0; MAX_FILE + 1]);
        let length = read_up_to(file, content.as_mut_slice()).map_err(failed)?;
        let key = content.get(..length).and_then(Self::parse);
        key.map(Some).ok_or(WrappingKeyError::Malformed { path })
    }

    /// AES-256-GCM's key.
    pub(super) fn seal_key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        self.expand(b"birthmark/master-wrap/v1", key.as_mut_slice());
        key
    }

    /// What in the file tells this wrapping key from another.
    pub(super) fn check(&self) -> [u8; CHECK_BYTES] {
        let mut check = [0; CHECK_BYTES];
        self.expand(b"birthmark/master-wrap-check/v1", &mut check);
        check
    }

    fn expand(&self, info: &[u8], out: &mut [u8]) {
        // Fails only above 255 hash lengths. Should that change, `out` stays zero, and the known
        // answers fail.
        let _ = Hkdf::<Sha256>::new(None, &self.0).expand(info, out);
    }
}

impl std::fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrappingKey(redacted)")
    }
}

fn read_up_to(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The credential's name, as in `LoadCredentialEncrypted=sma-key:…`.
const CREDENTIAL: &str = "sma-key";

/// Longest content: 64 digits and a line feed.
const MAX_FILE: usize = 65;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    fn bytes() -> Vec<u8> {
        (0..32).collect()
    }

    fn put(path: &Path, content: &[u8], mode: u32) {
        std::fs::write(path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn raw_bytes_and_digits_are_the_same_key() {
        for content in [bytes(), DIGITS.into(), format!("{DIGITS}\n").into()] {
            assert_eq!(WrappingKey::parse(&content).unwrap().0.as_slice(), bytes());
        }
    }

    #[test]
    fn other_contents_are_refused() {
        let digits = |text: String| text.into_bytes();
        for content in [
            vec![],
            vec![7; 31],
            vec![7; 33],
            digits(DIGITS.replacen("00", "0", 1)),
            digits(format!("{DIGITS}\r\n")),
            digits(format!("{DIGITS}\n\n")),
            digits(format!(" {DIGITS}")),
            digits(DIGITS.replacen("00", "0x", 1)),
            digits(DIGITS.replace('1', "g")),
            vec![0xff; 64],
        ] {
            assert!(WrappingKey::parse(&content).is_none(), "{content:?}");
        }
    }

    #[test]
    fn key_file_must_be_private_and_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wrap.key");
        assert!(matches!(WrappingKey::read(&path), Err(WrappingKeyError::File(SecretFileError::Io { .. }))));
        put(&path, DIGITS.as_bytes(), 0o600);
        assert_eq!(WrappingKey::read(&path).unwrap().0.as_slice(), bytes());
        put(&path, DIGITS.as_bytes(), 0o640);
        assert!(matches!(WrappingKey::read(&path), Err(WrappingKeyError::File(SecretFileError::LaxMode { .. }))));
        put(&path, b"short", 0o600);
        let error = WrappingKey::read(&path).unwrap_err();
        assert!(matches!(error, WrappingKeyError::Malformed { .. }));
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        put(&path, &[b'0'; 66], 0o600);
        assert!(matches!(WrappingKey::read(&path), Err(WrappingKeyError::File(SecretFileError::TooLong { .. }))));
    }

    #[test]
    fn credential_may_show_an_access_list_but_never_be_public() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sma-key");
        assert!(WrappingKey::read_credential(folder.path()).unwrap().is_none());
        for mode in [0o400, 0o440] {
            let _ = std::fs::remove_file(&path);
            put(&path, DIGITS.as_bytes(), mode);
            assert_eq!(WrappingKey::read_credential(folder.path()).unwrap().unwrap().0.as_slice(), bytes());
        }
        put(&path, DIGITS.as_bytes(), 0o444);
        let error = WrappingKey::read_credential(folder.path()).unwrap_err();
        assert!(matches!(error, WrappingKeyError::CredentialIsPublic { .. }));
        put(&path, &[b'0'; 66], 0o400);
        let error = WrappingKey::read_credential(folder.path()).unwrap_err();
        assert!(matches!(error, WrappingKeyError::Malformed { .. }));
    }

    #[test]
    fn credential_that_is_no_file_is_an_error_not_an_absence() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sma-key")).unwrap();
        std::fs::set_permissions(folder.path().join("sma-key"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let error = WrappingKey::read_credential(folder.path()).unwrap_err();
        assert!(matches!(error, WrappingKeyError::Credential { .. }));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", WrappingKey([7; 32])), "WrappingKey(redacted)");
    }
}

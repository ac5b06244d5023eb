//! Who calls: bearer tokens from a file.
//!
//! For: telling callers apart and giving each one role. Not for: deciding what a role may do (the
//! endpoint names the role that it wants), or people's passwords.
//!
//! The file has mode 0600 and holds no token, only their SHA-256:
//! ```text
//! # name        role       SHA-256 of the token                                              attributes
//! gate-7        writer     9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  colour=red
//! ```
//! Attributes say what else the server is to know of a caller; which ones mean something is each role's own.
//!
//! A token is 32 random bytes in hex, so a plain hash of it can neither be guessed nor looked up. The
//! file is read again within a second of a change; while the new content is malformed, the last good
//! one stays in force and the log says so.

mod file;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use file::TokenFile;
pub use file::{issue_token, issue_token_with};

use crate::problem::Problem;
use crate::secret_file::SecretFileError;

/// Why a token file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It could not be read or written.
    #[error("token file: {0}")]
    File(#[from] SecretFileError),
    /// A line is not `<name> <role> <64 hex>`.
    #[error("token file {}: line {line} is not \"<name> <role> <64 hex> [<attribute>=<value> …]\"", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
    },
    /// Names, roles and attributes are 1..64 of `A-Z a-z 0-9 . _ -`.
    #[error("a name, a role or an attribute is 1 to 64 letters, digits, dots, dashes and underscores")]
    Word,
    /// Callers are told apart by name.
    #[error("token file {}: a token named {name} exists already", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Without credentials, only this machine may call.
    #[error("refusing to serve {0} without credentials: that is for loopback addresses only")]
    NotLoopback(SocketAddr),
}

/// Decides who a caller is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// What everyone is called.
    Open(Arc<str>),
    Tokens(Arc<TokenFile>),
}

impl Authenticator {
    /// Lets everyone in, for a demonstration on this machine; refuses any other address.
    pub fn open(listens_on: SocketAddr) -> Result<Self, AuthError> {
        if !listens_on.ip().is_loopback() {
            return Err(AuthError::NotLoopback(listens_on));
        }
        Ok(Self(Kind::Open(Arc::from("anonymous"))))
    }

    /// Lets in those whose token's hash is in the file.
    pub fn tokens(path: impl Into<PathBuf>) -> Result<Self, AuthError> {
        Ok(Self(Kind::Tokens(Arc::new(TokenFile::load(path.into(), Instant::now())?))))
    }

    /// The caller, or `401`; none if the request names no credential at all.
    pub fn caller_if_any(&self, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        if headers.contains_key(header::AUTHORIZATION) { self.caller(headers).map(Some) } else { Ok(None) }
    }

    /// The caller, or `401`.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        match &self.0 {
            Kind::Open(name) => Ok(Caller { name: Arc::clone(name), role: None, attributes: Arc::default() }),
            Kind::Tokens(file) => bearer(headers)
                .and_then(|token| file.find(&digest(token), Instant::now()))
                .ok_or_else(|| Problem::of_status(StatusCode::UNAUTHORIZED)),
        }
    }
}

/// An authenticated caller. As an extractor it refuses with `401`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: Arc<str>,
    /// None where everyone is let in.
    role: Option<Arc<str>>,
    attributes: Arc<[(String, String)]>,
}

impl Caller {
    /// What its line in the token file says of it under this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The name in the token file; "anonymous" where everyone is let in.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Refuses with `403` unless the caller has one of these roles.
    pub fn require(&self, roles: &[&str]) -> Result<(), Problem> {
        match &self.role {
            Some(role) if !roles.contains(&&**role) => Err(Problem::of_status(StatusCode::FORBIDDEN)),
            Some(_) | None => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Authenticator::from_ref(state).caller(&parts.headers)
    }
}

/// A token's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TokenDigest([u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

fn digest(token: &str) -> TokenDigest {
    TokenDigest(Sha256::digest(token.as_bytes()).into())
}

/// The token of `Authorization: Bearer <token>`; RFC 9110 has the scheme in any case. Two such headers
/// are none: a proxy might have checked the other one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn with_authorization(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn issued(folder: &Path) -> (Authenticator, String, String) {
        let path = folder.join("tokens");
        let writer = issue_token(&path, "gate-7", "writer").unwrap();
        let reader = issue_token(&path, "kiosk", "reader").unwrap();
        (Authenticator::tokens(path).unwrap(), writer.to_string(), reader.to_string())
    }

    #[tokio::test]
    async fn issued_tokens_name_their_callers_and_roles() {
        let folder = tempfile::tempdir().unwrap();
        let (authenticator, writer, reader) = issued(folder.path());
        let caller = authenticator.caller(&with_authorization(&[&format!("Bearer {writer}")])).unwrap();
        assert_eq!(caller.name(), "gate-7");
        assert_eq!(caller.require(&["admin", "writer"]), Ok(()));
        assert_eq!(caller.require(&["admin"]).unwrap_err().status(), 403);
        let caller = authenticator.caller(&with_authorization(&[&format!("bearer  {reader}")])).unwrap();
        assert_eq!((caller.name(), caller.require(&["reader"])), ("kiosk", Ok(())));
    }

    #[tokio::test]
    async fn missing_wrong_and_doubled_tokens_are_unauthorized() {
        let folder = tempfile::tempdir().unwrap();
        let (authenticator, writer, _) = issued(folder.path());
        let good = format!("Bearer {writer}");
        let other = format!("Bearer {}", "0".repeat(64));
        for values in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &[&other],
            &[&format!("Basic {writer}")],
            &[&writer],
            &[&good, &good],
            &[good.as_str(), "x"],
        ] {
            let refused = authenticator.caller(&with_authorization(values)).unwrap_err();
            assert_eq!(refused.status(), 401, "{values:?}");
        }
    }

    #[tokio::test]
    async fn who_shows_no_credential_is_nobody_and_who_shows_a_wrong_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let token = issue_token_with(&path, "gate-7", "writer", &[("colour", "red"), ("limit", "5")]).unwrap();
        let authenticator = Authenticator::tokens(&path).unwrap();
        assert_eq!(authenticator.caller_if_any(&HeaderMap::new()), Ok(None));
        let caller =
            authenticator.caller_if_any(&with_authorization(&[&format!("Bearer {}", *token)])).unwrap().unwrap();
        assert_eq!(["colour", "limit", "x"].map(|name| caller.attribute(name)), [Some("red"), Some("5"), None]);
        let refused = authenticator.caller_if_any(&with_authorization(&["Bearer x"])).unwrap_err();
        assert_eq!(refused.status(), 401);
    }

    #[tokio::test]
    async fn file_holds_hashes_only_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let (_, writer, _) = issued(folder.path());
        let path = folder.path().join("tokens");
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&writer));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Authenticator::tokens(&path), Err(AuthError::File(SecretFileError::LaxMode { .. }))));
    }

    #[tokio::test]
    async fn extractor_answers_401_403_or_the_handler() {
        let folder = tempfile::tempdir().unwrap();
        let (authenticator, writer, reader) = issued(folder.path());
        let handler = async |caller: Caller| -> Result<String, Problem> {
            caller.require(&["writer"])?;
            Ok(caller.name().to_owned())
        };
        let router = axum::Router::new().route("/", axum::routing::get(handler)).with_state(authenticator);
        for (token, status) in [(&writer, 200), (&reader, 403), (&"x".repeat(64), 401)] {
            let request = axum::extract::Request::get("/").header("authorization", format!("Bearer {token}"));
            let request = request.body(axum::body::Body::empty()).unwrap();
            let answer = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401);
        }
    }

    #[test]
    fn open_access_is_for_loopback_only() {
        assert!(Authenticator::open("127.0.0.1:1".parse().unwrap()).is_ok());
        assert!(Authenticator::open("[::1]:1".parse().unwrap()).is_ok());
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(matches!(Authenticator::open(address.parse().unwrap()), Err(AuthError::NotLoopback(_))));
        }
    }

    #[test]
    fn open_access_passes_every_role() {
        let open = Authenticator::open("127.0.0.1:1".parse().unwrap()).unwrap();
        let caller = open.caller(&HeaderMap::new()).unwrap();
        assert_eq!((caller.name(), caller.require(&["admin"])), ("anonymous", Ok(())));
    }
}

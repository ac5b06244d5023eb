//! Submissions with real tokens for hashes that nobody has seen.

use std::sync::Arc;

use birthmark_camera::device::{Credentials, Sealer};
use birthmark_camera::queue::PhotoHashes;
use birthmark_camera::upload;
use birthmark_core::ImageHash;
use birthmark_core::api::provision::AuthorityReference;
use birthmark_core::ids::KeyIndex;
use birthmark_core::submission::SubmissionJson;
use birthmark_core::time::Clock as _;
use birthmark_core::token::v1;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use rand_core::Rng as _;

use super::load;
use super::sma::cameras::Camera;

/// One camera that never takes a picture.
#[derive(Debug)]
pub(super) struct Submissions {
    credentials: Arc<Credentials>,
    sealer: Sealer,
}

impl Submissions {
    pub(super) const fn new(credentials: Arc<Credentials>, sealer: Sealer) -> Self {
        Self { credentials, sealer }
    }

    /// The next one: raw, JPEG and its picture data, as the camera sends them, to be endorsed.
    pub(super) fn make(&self) -> anyhow::Result<SubmissionJson> {
        let (authority, hashes) = (self.credentials.authority(), random_hashes());
        let sealed = self.sealer.seal_for(&upload::body(&authority.authority_id, &hashes)?)?;
        Ok(upload::submission(authority, &hashes, &sealed, SystemClock.now()))
    }

    /// The same as a whole HTTP request.
    pub(super) fn endorsed(&self) -> anyhow::Result<Vec<u8>> {
        load::post("/api/v1/submit", &self.make()?)
    }

    /// The next one as a whole HTTP request, with a token of version 1: blinding takes a millisecond, and
    /// many are needed.
    pub(super) fn request(&self) -> anyhow::Result<Vec<u8>> {
        let (authority, hashes) = (self.credentials.authority(), random_hashes());
        let submission = upload::submission(authority, &hashes, &self.sealer.seal(), SystemClock.now());
        load::post("/api/v1/submit", &submission)
    }
}

/// The submission of some camera, with a token of version 1, as a whole HTTP request.
pub(super) fn attested(authority: &AuthorityReference, camera: &Camera) -> anyhow::Result<Vec<u8>> {
    let (id, key) = &camera.table;
    let token = v1::seal((*id, key), KeyIndex::new(0)?, &camera.nuc_hash, &mut OsRng);
    load::post("/api/v1/submit", &upload::submission(authority, &random_hashes(), &token, SystemClock.now()))
}

fn random_hashes() -> PhotoHashes {
    PhotoHashes { raw: random_hash(), processed: random_hash(), image_data: random_hash() }
}

fn random_hash() -> ImageHash {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    ImageHash::from_bytes(bytes)
}

//! Submissions with real tokens for hashes that nobody has seen.

use std::sync::Arc;

use birthmark_camera::device::{Credentials, Sealer};
use birthmark_camera::queue::PhotoHashes;
use birthmark_camera::upload;
use birthmark_core::ImageHash;
use birthmark_core::submission::SubmissionJson;
use birthmark_core::time::Clock as _;
use birthmark_service::clock::SystemClock;
use birthmark_service::random::OsRng;
use rand_core::Rng as _;

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

    /// The next one: raw, JPEG and its picture data, as the camera sends them.
    pub(super) fn make(&self) -> SubmissionJson {
        let hashes = PhotoHashes { raw: random_hash(), processed: random_hash(), image_data: random_hash() };
        upload::submission(self.credentials.authority(), &hashes, &self.sealer.seal(), SystemClock.now())
    }

    /// The next one as a whole HTTP request.
    pub(super) fn request(&self) -> anyhow::Result<Vec<u8>> {
        let body = serde_json::to_vec(&self.make())?;
        let mut request = format!(
            "POST /api/v1/submit HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend(body);
        Ok(request)
    }
}

fn random_hash() -> ImageHash {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    ImageHash::from_bytes(bytes)
}

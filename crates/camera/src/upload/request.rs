//! What the camera sends: one photograph's hashes with the token that vouches for them.
//!
//! For: `upload`, and whoever submits hashes without a queue (measurements).
//! Not for: sending it. Format: `docs/PROTOCOL.md` section 2.

use birthmark_core::api::provision::AuthorityReference;
use birthmark_core::body::{Body, Entries, EntriesError, Entry, Kind, Level, Parent};
use birthmark_core::ids::AuthorityId;
use birthmark_core::submission::{ImageJson, ManufacturerCert, SubmissionJson};
use birthmark_core::time::UnixSeconds;
use birthmark_core::token::TokenJson;

use crate::queue::PhotoHashes;

/// What a photograph's submission asks to record, and what its version 2 token is tied to: raw,
/// processed, and the processed one's picture data.
pub fn body(authority: &AuthorityId, hashes: &PhotoHashes) -> Result<Body, EntriesError> {
    let entry = |level, kind, hash, parent| Entry { level, kind, hash, parent };
    let entries = vec![
        entry(Level::Raw, Kind::File, hashes.raw, Parent::None),
        entry(Level::Validated, Kind::File, hashes.processed, Parent::Entry(1)),
        entry(Level::Validated, Kind::ImageData, hashes.image_data, Parent::Entry(1)),
    ];
    Ok(Body { authority: authority.clone(), entries: Entries::new(entries, None, None)? })
}

/// The submission of a photograph: its [`body`] with a token, which is a `SealedToken` of version 1 or a
/// `Sealed` of either.
pub fn submission(
    authority: &AuthorityReference,
    hashes: &PhotoHashes,
    token: impl Into<TokenJson>,
    taken_at: UnixSeconds,
) -> SubmissionJson {
    let raw = hashes.raw.to_string();
    let image = |hash: String, level: u64, kind: Option<&str>| ImageJson {
        image_hash: hash,
        modification_level: level,
        parent_image_hash: (level > 0).then(|| raw.clone()),
        kind: kind.map(str::to_owned),
    };
    SubmissionJson {
        submission_type: "camera".to_owned(),
        image_hashes: vec![
            image(raw.clone(), 0, None),
            image(hashes.processed.to_string(), 1, None),
            image(hashes.image_data.to_string(), 1, Some("image_data")),
        ],
        camera_token: Some(token.into()),
        manufacturer_cert: Some(ManufacturerCert {
            authority_id: authority.authority_id.as_str().to_owned(),
            validation_endpoint: Some(authority.validation_endpoint.clone()),
            camera_token: None,
            key_reference: None,
        }),
        timestamp: claim(taken_at),
        owner_hash: None,
        gps_hash: None,
    }
}

/// A camera whose clock stands at 1970 claims nothing rather than something that is refused.
fn claim(taken_at: UnixSeconds) -> Option<u64> {
    (1..=u64::from(u32::MAX)).contains(&taken_at.0).then_some(taken_at.0)
}

#[cfg(test)]
mod tests {
    use birthmark_core::ImageHash;
    use birthmark_core::ids::{KeyIndex, TableId};
    use birthmark_core::submission::Submission;
    use birthmark_core::token::SealedToken;

    use super::*;

    fn submitted(taken_at: u64) -> Submission {
        let authority = AuthorityReference {
            authority_id: AuthorityId::new("SIMULATED_MFG_001").unwrap(),
            validation_endpoint: "http://127.0.0.1:8001/validate".to_owned(),
        };
        let hash = |text: &str| ImageHash::of(text.as_bytes());
        let hashes = PhotoHashes { raw: hash("raw"), processed: hash("jpeg"), image_data: hash("data") };
        let token = SealedToken {
            table_id: TableId::new(42).unwrap(),
            key_index: KeyIndex::new(7).unwrap(),
            nonce: [1; 12],
            ciphertext: vec![2; 32],
            auth_tag: [3; 16],
        };
        let json = serde_json::to_vec(&submission(&authority, &hashes, &token, UnixSeconds(taken_at))).unwrap();
        Submission::from_json(&json).unwrap()
    }

    #[test]
    fn the_aggregator_reads_what_the_camera_means() {
        let Submission::Camera(camera) = submitted(1_733_259_600) else { panic!("a camera's") };
        let entries: Vec<_> =
            camera.body.entries.as_slice().iter().map(|e| (e.level as u8, e.kind, e.hash, e.parent)).collect();
        let hash = |text: &str| ImageHash::of(text.as_bytes());
        assert_eq!(
            entries,
            [
                (0, Kind::File, hash("raw"), Parent::None),
                (1, Kind::File, hash("jpeg"), Parent::Entry(1)),
                (1, Kind::ImageData, hash("data"), Parent::Entry(1)),
            ]
        );
        let hashes = PhotoHashes { raw: hash("raw"), processed: hash("jpeg"), image_data: hash("data") };
        assert_eq!(body(&camera.body.authority, &hashes).as_ref(), Ok(&camera.body), "what the token is tied to");
        assert_eq!(camera.claimed_time, Some(1_733_259_600));
        assert_eq!(camera.token.table_id.value(), 42);
    }

    #[test]
    fn clocks_that_know_nothing_claim_nothing() {
        for wrong in [0, u64::from(u32::MAX) + 1, 1_733_259_600_000] {
            let Submission::Camera(camera) = submitted(wrong) else { panic!("a camera's") };
            assert_eq!(camera.claimed_time, None, "{wrong}");
        }
    }
}

//! Keys go into the TPM, tokens come out of the camera, and nothing secret lies on disk.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use birthmark_camera::device::tpm::Tpm;
use birthmark_camera::device::{ElementKind, SealError, Sealer, SecureElement as _, Stored, TokenVersion};
use birthmark_core::ImageHash;
use birthmark_core::base64;
use birthmark_core::body::{Body, Entries, Entry, Kind, Level, Parent};
use birthmark_core::ids::AuthorityId;
use birthmark_core::keytable::TableKey;
use birthmark_core::network::{EndorsementKeyState, Network};
use birthmark_core::token::NucHash;
use birthmark_core::token::v2::{DeviceKey, Opener};
use birthmark_service::random::OsRng;

use super::camera::{Camera, NUC};
use super::swtpm::Swtpm;
use crate::world::{AUTHORITY, DEVICE_KEY, TABLE_KEY, network, token_secret};

fn body() -> Body {
    let entry = Entry { level: Level::Raw, kind: Kind::File, hash: ImageHash::of(b"photo"), parent: Parent::None };
    Body { authority: AuthorityId::new(AUTHORITY).unwrap(), entries: Entries::new(vec![entry], None, None).unwrap() }
}

/// Seals as a camera does, and opens as its authority would; gives the token's number.
fn seal_and_open(sealer: &Sealer) -> Result<u64, SealError> {
    let token = sealer.seal_for(&body())?;
    let network = Network::parse(&network(&[(1, EndorsementKeyState::Current)])).unwrap();
    let blinding = &token.binding.as_ref().unwrap().blinding;
    let opened = Opener::new(network.network_id(), &token_secret())
        .open(&token.token, &blinding.enc, &blinding.commitment(), &TableKey::from_bytes(TABLE_KEY))
        .unwrap();
    assert!(opened.is_from(&DeviceKey::from_bytes(DEVICE_KEY)));
    assert_eq!(opened.nuc_hash, NucHash::from_bytes(NUC));
    Ok(opened.counter)
}

#[test]
fn a_camera_seals_with_keys_that_only_its_tpm_gives_back() {
    let Some(mut tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    let credentials = camera.credentials(&tpm).unwrap();
    assert_eq!((credentials.element(), credentials.token_version()), (ElementKind::Tpm, TokenVersion::V2));
    let sealer = Sealer::new(Arc::new(credentials), OsRng);
    let first = seal_and_open(&sealer).unwrap();
    assert_eq!(seal_and_open(&sealer).unwrap(), first + 1);
    // Photographs wait in the queue while the TPM is away, and go out when it is back.
    tpm.power_cycle();
    let sealer = Sealer::new(Arc::new(camera.credentials(&tpm).unwrap()), OsRng);
    let next = seal_and_open(&sealer).unwrap();
    assert!(next > first + 1, "{next} after {first}");
    sealer.skip_numbers().unwrap();
    assert!(seal_and_open(&sealer).unwrap() >= next + 65_536);
}

#[test]
fn nothing_on_disk_holds_a_key_and_nobody_else_reads_what_is_there() {
    let Some(tpm) = Swtpm::start() else { return };
    let camera = Camera::provision(&tpm);
    Sealer::new(Arc::new(camera.credentials(&tpm).unwrap()), OsRng).seal_for(&body()).unwrap();
    for entry in std::fs::read_dir(camera.0.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for key in [TABLE_KEY, DEVICE_KEY] {
            let text = base64::encode(key);
            for needle in [key.as_slice(), text.as_bytes()] {
                assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", path.display());
            }
        }
    }
    let mode = std::fs::metadata(camera.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_tpm_vouches_for_the_key_that_seals_and_for_this_camera_alone() {
    let Some(tpm) = Swtpm::certified() else { return };
    let camera = Camera::provision(&tpm);
    let stored = Stored::read(&camera.path()).unwrap();
    let element = Tpm::at(&tpm.tcti()).unwrap();
    let shown = element.attest(stored.serial()).unwrap().unwrap();
    assert!(shown.endorsement_certificate.is_some(), "swtpm was given one");
    // Made anew, the key is the same; another camera's is another.
    assert_eq!(element.attest(stored.serial()).unwrap().unwrap().attestation_key, shown.attestation_key);
    let other = element.attest(&"PI_CAMERA_002".parse().unwrap()).unwrap().unwrap();
    assert_ne!(other.attestation_key, shown.attestation_key);
    assert_eq!(other.storage_key, shown.storage_key);
    // The independent judge: tpm2-tools checks the signature over exactly these bytes.
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let decode = |text: &str| base64::decode_bounded(text, 4096).unwrap();
    let public = decode(&shown.attestation_key);
    let length = u16::try_from(public.len()).unwrap().to_be_bytes();
    std::fs::write(file("key"), [&length, public.as_slice()].concat()).unwrap();
    std::fs::write(file("info"), decode(&shown.certify_info)).unwrap();
    std::fs::write(file("signature"), tpmt_signature(&decode(&shown.signature))).unwrap();
    tpm.tool("tpm2_loadexternal", &["-C", "o", "-u", &file("key"), "-c", &file("context")]);
    let (context, info, signature) = (file("context"), file("info"), file("signature"));
    let verify = ["-c", &context, "-g", "sha256", "-m", &info, "-s", &signature];
    tpm.tool("tpm2_verifysignature", &verify);
    let mut changed = decode(&shown.certify_info);
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&info, changed).unwrap();
    assert!(!tpm.try_tool("tpm2_verifysignature", &verify).status.success());
}

/// `TPMT_SIGNATURE` of ECDSA with SHA-256.
fn tpmt_signature(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(32);
    [&[0, 0x18, 0, 0x0b, 0, 32], r, &[0, 32], s].concat()
}

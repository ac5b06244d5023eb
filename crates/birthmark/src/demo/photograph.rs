//! The demo's one photograph: from scene to proof file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use birthmark_camera::FrameSize;
use birthmark_camera::device::{self, ElementChoice, IfProvisioned, TokenVersion};
use birthmark_camera::sensor::simulated::{self, Scene};
use birthmark_camera::upload::Outcome;
use birthmark_core::ImageHash;
use birthmark_core::api::provision::DeviceConfig;
use birthmark_core::ids::{DeviceFamily, DeviceSerial, Height, TxId};
use birthmark_service::random::OsRng;

use super::children::Addresses;
use super::folder::Folder;
use super::report::Report;
use crate::camera::{Opening, Session, SourceArgs};
use crate::terminal::Waiting;

/// What was taken and registered.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) jpeg: PathBuf,
    pub(super) dng: PathBuf,
    pub(super) proof: PathBuf,
    pub(super) raw_hash: ImageHash,
    pub(super) processed_hash: ImageHash,
    pub(super) tx_id: TxId,
    pub(super) block_height: Height,
    pub(super) capture: Duration,
    pub(super) registration: Duration,
}

/// The scene, after a first look at the file: what cannot be a photograph is refused before anything starts.
pub(super) fn scene(photo: Option<&Path>) -> anyhow::Result<Scene> {
    let Some(photo) = photo else { return Ok(Scene::Procedural) };
    simulated::check_photograph(photo)?;
    Ok(Scene::Photograph(photo.to_owned()))
}

/// The demo's camera, provisioned at the first start; afterwards only its addresses are renewed.
pub(super) async fn camera(folder: &Folder, at: &Addresses, scene: Scene, size: FrameSize) -> anyhow::Result<Session> {
    let config = folder.camera_config();
    let _waiting = Waiting::new("preparing the camera");
    let provisioned = if config.exists() {
        let mut known: DeviceConfig =
            serde_json::from_slice(&std::fs::read(&config)?).context("device_config.json is damaged")?;
        known.aggregator_url.clone_from(&at.aggregator);
        known.manufacturer_cert.validation_endpoint = format!("{}/validate", at.sma);
        known
    } else {
        provision(&config, at, folder.token()).await?
    };
    device::write_config(&config, &provisioned, IfProvisioned::ReplaceSameSerial)?;
    let (source, element) = (SourceArgs::simulated(size), ElementChoice::default());
    let opening = Opening { config, data: None, aggregators: Vec::new(), scene, source, frames: 1, element };
    Session::open(opening, Some(folder.token())).await
}

/// Provisions the camera. An earlier start that was interrupted between the authority's commit and our
/// file has used up its serial and its sensor, whose credentials are handed out once: then it is the
/// next camera's turn, with a sensor of its own.
async fn provision(config: &Path, at: &Addresses, token: TokenVersion) -> anyhow::Result<DeviceConfig> {
    for number in 1..=MOST_CAMERAS {
        let seed = device::simulated_seed(config, &mut OsRng)?;
        let request = device::provision_request(
            DeviceSerial::new(format!("PI_CAMERA_{number:03}"))?,
            DeviceFamily::new("Raspberry Pi HQ Camera (simulated)")?,
            simulated::nuc_hash(&seed).to_string(),
            token,
        );
        match device::provision(&at.sma, &request, None).await {
            Err(refused) if refused.is_duplicate() => std::fs::remove_file(device::seed_path(config))?,
            answered => return Ok(answered?),
        }
    }
    anyhow::bail!("the authority knows {MOST_CAMERAS} cameras of this demo already; choose a new folder")
}

/// Takes the photograph and waits until it is on record.
pub(super) async fn take(session: &mut Session, report: Report) -> anyhow::Result<Taken> {
    let steps = report.steps();
    let (captured, capture) = session.capture(steps).await?;
    let started = tokio::time::Instant::now();
    let uploader = session.uploader();
    let deadline = started + RECORD;
    let _waiting = Waiting::new("waiting for the registry");
    let (tx_id, block_height, proof) = loop {
        match uploader.submit_one(captured.photo, Some(ANSWER), &steps).await? {
            Outcome::Confirmed { recorded, proof: Some(proof) } => {
                // It lies beside the JPEG.
                let proof = captured.jpeg.with_file_name(proof.file_name().unwrap_or_default());
                break (recorded.tx_id, recorded.block_height, proof);
            }
            Outcome::Parked { reason } => anyhow::bail!("the photograph was refused: {reason}"),
            _ if tokio::time::Instant::now() >= deadline => {
                anyhow::bail!("the photograph is not on record after {} s; see the logs", RECORD.as_secs())
            }
            Outcome::Pending { .. } | Outcome::Confirmed { .. } => {}
        }
    };
    Ok(Taken {
        registration: started.elapsed(),
        jpeg: captured.jpeg,
        dng: captured.dng,
        proof,
        raw_hash: captured.raw_hash,
        processed_hash: captured.processed_hash,
        tx_id,
        block_height,
        capture,
    })
}

const MOST_CAMERAS: u16 = 99;
const ANSWER: Duration = Duration::from_secs(30);
/// Generous: a machine under load is slow, not broken.
const RECORD: Duration = Duration::from_mins(2);

//! The demo's folder: made whole or not at all, locked while in use, resumed with the same keys.
//!
//! ```text
//! DIR/network.json  network.policy  demo.json  logs/
//!     sma/  aggregator/  node-<n>/  camera/
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use birthmark_camera::device::TokenVersion;
use birthmark_core::ids::{AuthorityId, SubmitterName};
use birthmark_core::network::MAX_VALIDATORS;
use birthmark_service::clock::SystemClock;
use birthmark_service::lock::FolderLock;
use birthmark_service::random::OsRng;
use birthmark_service::secret_file::{self, FileMode};
use rand_core::Rng as _;
use serde::{Deserialize, Serialize};

use crate::network::{self, places};

/// A folder that is complete and ours alone.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    token: TokenVersion,
    validators: usize,
    _lock: FolderLock,
}

/// `demo.json`: what this installation is.
#[derive(Debug, Serialize, Deserialize)]
struct DemoFile {
    version: u32,
    origin: String,
    authority_id: AuthorityId,
    /// Version of the camera's tokens.
    token: u8,
    #[serde(default = "one")]
    validators: usize,
}

impl Folder {
    /// Opens the folder, or makes a new installation in it.
    pub(super) fn open(path: &Path, token: Option<TokenVersion>, validators: Option<usize>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot use the folder {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot use the folder {}", path.display()))?;
        let lock = FolderLock::acquire(&path)?;
        let demo = match std::fs::read(path.join(DEMO_FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} in {} is damaged", DEMO_FILE, path.display()))?,
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                create(&path, token.unwrap_or_default(), validators.unwrap_or(1))?
            }
            Err(cause) => return Err(cause).with_context(|| format!("cannot read {DEMO_FILE} in {}", path.display())),
        };
        anyhow::ensure!(demo.version == VERSION, "{} was made by another version of the demo", path.display());
        let own = if demo.token == 1 { TokenVersion::V1 } else { TokenVersion::V2 };
        if let Some(asked) = token.filter(|asked| *asked != own) {
            anyhow::bail!(
                "the camera in {} was provisioned for tokens of version {}, not {}; choose another folder with --data",
                path.display(),
                demo.token,
                number(asked)
            );
        }
        if let Some(asked) = validators.filter(|asked| *asked != demo.validators) {
            anyhow::bail!(
                "the network in {} has {} validators, not {asked}; choose another folder with --data",
                path.display(),
                demo.validators
            );
        }
        std::fs::create_dir_all(path.join("logs")).context("cannot create the folder for logs")?;
        Ok(Self { path, token: own, validators: demo.validators, _lock: lock })
    }

    /// Version of the camera's tokens.
    pub(super) const fn token(&self) -> TokenVersion {
        self.token
    }

    /// How many validators the network has.
    pub(super) const fn validators(&self) -> usize {
        self.validators
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn network_file(&self) -> PathBuf {
        self.path.join("network.json")
    }

    pub(super) fn role(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn camera_config(&self) -> PathBuf {
        self.path.join("camera").join("device_config.json")
    }

    pub(super) fn log(&self, role: &str) -> PathBuf {
        self.path.join("logs").join(format!("{role}.log"))
    }
}

/// Makes everything; `demo.json` comes last, so that where it is, all else is complete.
fn create(path: &Path, token: TokenVersion, validators: usize) -> anyhow::Result<DemoFile> {
    let places = places::local(validators)?;
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        // What an interrupted start left behind never ran, so nothing depends on it.
        let ours = made().any(|made| *name == *made) || name == ".lock";
        anyhow::ensure!(ours, "{} holds other files and no {DEMO_FILE}; choose a new or empty folder", path.display());
    }
    for made in made() {
        let target = path.join(made);
        let removed = if target.is_dir() { std::fs::remove_dir_all(&target) } else { std::fs::remove_file(&target) };
        if let Err(cause) = removed
            && cause.kind() != ErrorKind::NotFound
        {
            return Err(cause).with_context(|| format!("cannot clear {}", target.display()));
        }
    }
    let mut random = [0; 8];
    OsRng.fill_bytes(&mut random);
    let suffix = birthmark_core::hex::encode(random);
    let demo = DemoFile {
        version: VERSION,
        origin: format!("demo.birthmark.invalid/{suffix}"),
        authority_id: AuthorityId::new("SIMULATED_MFG_001")?,
        token: number(token),
        validators,
    };
    let options = birthmark_sma::InitOptions::new(demo.authority_id.clone());
    let statement = birthmark_sma::init(&path.join("sma"), &options, &SystemClock)?;
    network::create(path, &demo.origin, vec![statement], &SubmitterName::new(network::AGGREGATOR)?, &places)?;
    let camera = path.join("camera");
    std::fs::create_dir_all(&camera).with_context(|| format!("cannot create {}", camera.display()))?;
    secret_file::replace(&path.join(DEMO_FILE), &serde_json::to_vec_pretty(&demo)?, FileMode::Public)?;
    Ok(demo)
}

const fn number(token: TokenVersion) -> u8 {
    match token {
        TokenVersion::V1 => 1,
        TokenVersion::V2 => 2,
    }
}

const fn one() -> usize {
    1
}

/// Names of everything that may stand in the folder before it is complete.
fn made() -> impl Iterator<Item = String> {
    let nodes = (0..MAX_VALIDATORS).map(places::name);
    ["network.json", "network.policy", "sma", "aggregator", "camera", "logs"]
        .map(str::to_owned)
        .into_iter()
        .chain(nodes)
}

const DEMO_FILE: &str = "demo.json";
const VERSION: u32 = 2;

//! Which kind of photographs a data folder is for.
//!
//! For: keeping what a sensor saw and what another program left in a folder apart, from the files to the
//! queue: a queue is submitted under one authority, and one that vouches for a sensor must never be
//! given somebody's files.
//!
//! Not for: choosing the authority (whoever opens the uploader on the queue).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{CaptureError, recover};
use crate::sensor::Origin;

/// Where the photographs of a data folder come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A sensor, be it simulated.
    Sensor,
    /// A folder that anybody fills.
    OtherPrograms,
}

impl Source {
    /// Whether an exposure of this origin is kept here.
    pub(super) fn takes(self, origin: Origin) -> bool {
        match origin {
            Origin::Hardware | Origin::Simulation => self == Self::Sensor,
            Origin::OtherProgram => self == Self::OtherPrograms,
        }
    }

    /// Marks a folder that holds no photograph yet; then as [`Source::check`]. Under the lock alone.
    pub(super) fn claim(self, photos: &Path) -> Result<(), CaptureError> {
        let in_folder = |source| CaptureError::Folder { path: photos.to_owned(), source };
        let marker = photos.join(MARKER);
        if self == Self::OtherPrograms && !marker.exists() && recover::is_empty(photos).map_err(in_folder)? {
            let made = File::create(&marker).and_then(|file| file.sync_all());
            made.and_then(|()| File::open(photos)?.sync_all()).map_err(in_folder)?;
        }
        self.check(photos)
    }

    /// Refuses a folder of the other kind.
    pub(super) fn check(self, photos: &Path) -> Result<(), CaptureError> {
        let other_programs = match fs::symlink_metadata(photos.join(MARKER)) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(CaptureError::Folder { path: photos.to_owned(), source }),
        };
        if other_programs == (self == Self::OtherPrograms) {
            return Ok(());
        }
        Err(CaptureError::OtherSource { path: photos.to_owned(), other_programs })
    }
}

const MARKER: &str = ".other-programs";

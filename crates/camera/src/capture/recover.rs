//! Mending what a killed camera left behind.
//!
//! For: `capture`, while no camera is at work in the folder.
//! Not for: files without a number of ours in their name; they are never touched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use birthmark_core::ImageHash;
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::time::UnixSeconds;

use super::{CaptureError, Files, PHOTOS};
use crate::dng;
use crate::durable_file::remove_leftovers;
use crate::exif::TimeSource;
use crate::queue::{NewPhoto, PhotoHashes, PhotoId, Queue};

/// What was found when a camera was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Photographs whose files were complete and had no row; they are queued now.
    pub recovered: Vec<PhotoId>,
    /// Files without a row that are not a complete photograph; they are left as they are.
    pub incomplete: Vec<PathBuf>,
    /// Temporary files that were removed.
    pub leftovers: usize,
}

/// Which files of a number are there.
#[derive(Clone, Copy, Default)]
struct Pair {
    jpeg: bool,
    dng: bool,
}

pub(super) fn recover(data: &Path, queue: &Queue) -> Result<Recovery, CaptureError> {
    let photos = data.join(PHOTOS);
    let in_folder = |source| CaptureError::Folder { path: photos.clone(), source };
    let mut recovery = Recovery { leftovers: remove_leftovers(&photos).map_err(in_folder)?, ..Recovery::default() };
    for (frame, pair) in pairs(&photos).map_err(in_folder)? {
        if queue.has_frame(frame)? {
            continue;
        }
        let files = Files::of(frame);
        let read = if pair.jpeg && pair.dng { read_pair(data, frame, &files) } else { Ok(None) };
        if let Some(photo) = read.map_err(in_folder)? {
            recovery.recovered.push(queue.insert(photo)?);
        } else {
            let there = [(pair.jpeg, files.jpeg), (pair.dng, files.dng)];
            recovery.incomplete.extend(there.into_iter().filter(|(there, _)| *there).map(|(_, path)| path));
        }
    }
    Ok(recovery)
}

/// Whether there is no photograph in the folder, nor a part of one.
pub(super) fn is_empty(photos: &Path) -> io::Result<bool> {
    pairs(photos).map(|pairs| pairs.is_empty())
}

/// The numbers of all photographs in the folder, in order.
fn pairs(photos: &Path) -> io::Result<BTreeMap<u64, Pair>> {
    let mut pairs = BTreeMap::<u64, Pair>::new();
    for entry in fs::read_dir(photos)? {
        let entry = entry?;
        let Some((frame, end)) = entry.file_name().to_str().and_then(frame_of).filter(|_| is_file(&entry)) else {
            continue;
        };
        let pair = pairs.entry(frame).or_default();
        match end {
            End::Jpeg => pair.jpeg = true,
            End::Dng => pair.dng = true,
        }
    }
    Ok(pairs)
}

enum End {
    Jpeg,
    Dng,
}

/// The number in a name that we would give, and nothing for any other name.
fn frame_of(name: &str) -> Option<(u64, End)> {
    let (digits, end) = name.strip_prefix("IMG_")?.split_once('.')?;
    let frame = digits.parse().ok().filter(|frame| i64::try_from(*frame).is_ok())?;
    let Files { jpeg, dng } = Files::of(frame);
    let named = |path: &Path| path.file_name().is_some_and(|own| own == name);
    match end {
        "jpg" if named(&jpeg) => Some((frame, End::Jpeg)),
        "dng" if named(&dng) => Some((frame, End::Dng)),
        _ => None,
    }
}

fn is_file(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Hashes both files; nothing if they are not a photograph of ours.
fn read_pair(data: &Path, frame: u64, files: &Files) -> io::Result<Option<NewPhoto>> {
    let Some(dng) = read(&data.join(&files.dng))? else { return Ok(None) };
    let Ok(raw) = dng::read_canonical_raw(&dng) else { return Ok(None) };
    drop(dng);
    let Some(jpeg) = read(&data.join(&files.jpeg))? else { return Ok(None) };
    let Some(image_data) = jpeg_image_data(&jpeg) else { return Ok(None) };
    let hashes = PhotoHashes { raw: raw.hash(), processed: ImageHash::of(&jpeg), image_data };
    // The clock of then is not known any more; the file system's note of it is the best there is.
    let written = fs::metadata(data.join(&files.jpeg))?.modified()?;
    let taken_at = UnixSeconds(written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    let Files { jpeg, dng } = files.clone();
    Ok(Some(NewPhoto { frame, taken_at, time_source: TimeSource::Unsynced, jpeg, dng, hashes }))
}

/// The file's bytes, and nothing if they are more than a photograph can have.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= MAX_FILE))
}

/// 8192 x 8192 samples with a header.
const MAX_FILE: u64 = 2 * 8192 * 8192 + 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_camera_gives_are_read() {
        assert!(matches!(frame_of("IMG_000042.jpg"), Some((42, End::Jpeg))));
        assert!(matches!(frame_of("IMG_1234567.dng"), Some((1_234_567, End::Dng))));
        for other in [
            "IMG_42.jpg",
            "IMG_0000042.jpg",
            "IMG_+00042.jpg",
            "img_000042.jpg",
            "IMG_000042.jpg.tlog-proof",
            "IMG_.dng",
        ] {
            assert!(frame_of(other).is_none(), "{other}");
        }
    }
}

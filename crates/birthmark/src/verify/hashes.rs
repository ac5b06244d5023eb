//! All hashes under which a file may be registered.
//!
//! Every file by its bytes; a JPEG also by its picture data; a DNG also by its canonical raw samples,
//! which is what a camera registers of it.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use birthmark_camera::dng;
use birthmark_core::ImageHash;
use birthmark_core::body::Kind;
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::verify::Candidate;
use sha2::{Digest as _, Sha256};

use super::Unchecked;

/// Hashes a file. What is longer than a JPEG or DNG that we read is hashed in pieces only.
pub(super) fn candidates(path: &Path) -> Result<Vec<Candidate>, Unchecked> {
    let unreadable = |cause| Unchecked::Unreadable { path: path.to_owned(), cause };
    let mut file = open(path)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if length == 0 {
        return Err(Unchecked::Empty(path.to_owned()));
    }
    let mut magic = [0; 4];
    let is_picture = file.read_exact(&mut magic).is_ok()
        && (magic.starts_with(&[0xff, 0xd8]) || magic == *b"II*\0")
        && length <= MAX_PICTURE;
    file.rewind().map_err(unreadable)?;
    if !is_picture {
        return Ok(vec![Candidate { kind: Kind::File, hash: hash_in_pieces(file).map_err(unreadable)? }]);
    }
    let bytes = read_bounded(path, MAX_PICTURE)?;
    let mut candidates = vec![Candidate { kind: Kind::File, hash: ImageHash::of(&bytes) }];
    if let Some(hash) = jpeg_image_data(&bytes) {
        candidates.push(Candidate { kind: Kind::ImageData, hash });
    }
    // A TIFF that is no DNG of ours simply has no raw hash.
    if magic == *b"II*\0"
        && let Ok(frame) = dng::read_canonical_raw(&bytes)
    {
        candidates.push(Candidate { kind: Kind::File, hash: frame.hash() });
    }
    Ok(candidates)
}

/// Reads a whole file that must not be longer than `max`.
pub(super) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Unchecked> {
    let mut bytes = Vec::new();
    open(path)?
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| Unchecked::Unreadable { path: path.to_owned(), cause })?;
    if bytes.len() as u64 > max { Err(Unchecked::TooLarge(path.to_owned())) } else { Ok(bytes) }
}

fn open(path: &Path) -> Result<File, Unchecked> {
    let unreadable = |cause| Unchecked::Unreadable { path: path.to_owned(), cause };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Unchecked::NotAFile(path.to_owned()));
    }
    File::open(path).map_err(unreadable)
}

fn hash_in_pieces(mut file: File) -> std::io::Result<ImageHash> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1024 * 1024];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(ImageHash::from_bytes(hasher.finalize().into())),
            Ok(read) => read,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        hasher.update(piece.get(..read).unwrap_or_default());
    }
}

/// The largest raw frame we write is 8192 × 8192 samples of two bytes.
const MAX_PICTURE: u64 = 160 * 1024 * 1024;

//! The camera: sensor, image pipeline, queue and uploader.
//!
//! For: one exposure as canonical raw, DNG and JPEG with EXIF; its hashes; the token; the durable queue
//! and its upload.
//!
//! Not for: what the bytes on the wire mean (`birthmark-core`), nor the command line (`birthmark`).
//!
//! The way of a photograph: [`sensor::Sensor`] gives a [`raw_frame::RawFrame`], whose hash is the raw
//! hash. [`dng`] keeps it on disk, [`jpeg`] develops and encodes it with the EXIF of [`exif`] already
//! inside, and [`durable_file`] puts both files where a power cut cannot half-write them.

pub mod capture;
mod colour;
pub mod counter;
pub mod device;
pub mod dng;
pub mod durable_file;
pub mod exif;
mod fault;
mod ifd;
pub mod isp;
pub mod jpeg;
pub mod nuc;
pub mod queue;
pub mod raw_frame;
pub mod sensor;
pub mod upload;

pub use raw_frame::{FrameSize, RawFrame};
pub use sensor::{Exposure, ExposureMetadata, Picture, Sensor, SensorError};

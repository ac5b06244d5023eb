use std::path::PathBuf;

use zune_core::bytestream::ZCursor;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::*;
use crate::isp::develop;
use crate::raw_frame::FrameSize;
use crate::sensor::Sensor as _;
use crate::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};

fn expose(scene: Scene, width: u32, height: u32) -> RawFrame {
    let size = FrameSize::new(width, height).unwrap();
    let config = SimulatedConfig { seed: DeviceSeed::from_label("jpeg"), size, scene, first_frame: 0 };
    SimulatedImx477::new(config).unwrap().expose().unwrap().raw
}

fn decode(jpeg: &[u8]) -> (usize, usize, Vec<u8>, Option<Vec<u8>>) {
    let options = DecoderOptions::default().set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder.decode().unwrap();
    let info = decoder.info().unwrap();
    (info.width.into(), info.height.into(), pixels, decoder.exif().cloned())
}

/// Peak signal to noise ratio in dB of two pictures, each reduced by averaging squares of 8 x 8.
fn reduced_psnr(a: &[u8], b: &[u8], width: usize) -> f64 {
    let reduce = |pixels: &[u8]| -> Vec<f64> {
        let (columns, rows) = (width / 8, pixels.len() / 3 / width / 8);
        let mut sums = vec![0.0; columns * rows * 3];
        for (place, value) in pixels.iter().enumerate() {
            let (x, y) = (place / 3 % width / 8, place / 3 / width / 8);
            if x < columns && y < rows {
                sums[(y * columns + x) * 3 + place % 3] += f64::from(*value) / 64.0;
            }
        }
        sums
    };
    let (a, b) = (reduce(a), reduce(b));
    let count = f64::from(u32::try_from(a.len()).unwrap());
    let error = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / count;
    10.0 * (255.0 * 255.0 / error).log10()
}

#[test]
fn bands_join_to_the_picture_that_was_developed() {
    // One band, whole bands, a last band of two rows, more bands than there are restart markers.
    for (width, height) in [(16, 16), (64, 128), (50, 130), (130, 700)] {
        let frame = expose(Scene::Procedural, width, height);
        let (decoded_width, decoded_height, pixels, _) = decode(&encode(&frame, b"tiff").unwrap());
        assert_eq!((decoded_width, decoded_height), (frame.format().size.width(), frame.format().size.height()));
        let psnr = reduced_psnr(&pixels, develop(&frame).pixels.as_flattened(), decoded_width);
        assert!(psnr > 38.0, "{width}x{height}: {psnr} dB");
    }
}

#[test]
fn exif_is_inside_and_unchanged() {
    let exif: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let jpeg = encode(&expose(Scene::Flat(0.3), 32, 32), &exif).unwrap();
    assert_eq!(decode(&jpeg).3, Some(exif));
}

#[test]
fn exif_that_no_segment_holds_is_refused() {
    let frame = expose(Scene::Flat(0.3), 16, 16);
    assert!(encode(&frame, &vec![0; 65_535 - 2 - 6]).is_ok());
    assert!(matches!(encode(&frame, &vec![0; 65_535 - 2 - 5]), Err(JpegError::ExifTooLong(_))));
}

#[test]
fn same_frame_gives_the_same_file() {
    let frame = expose(Scene::Procedural, 128, 192);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(encode(&frame, b"x").unwrap(), one.install(|| encode(&frame, b"x")).unwrap());
}

#[test]
fn photograph_before_the_lens_is_recognised_in_the_jpeg() {
    // The painted landscape serves as the photograph: its JPEG goes through the whole camera once more.
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("photo.jpg");
    let photo = encode(&expose(Scene::Procedural, 512, 384), b"tiff").unwrap();
    std::fs::write(&path, &photo).unwrap();
    let jpeg = encode(&expose(Scene::Photograph(path), 512, 384), b"tiff").unwrap();
    let psnr = reduced_psnr(&decode(&jpeg).2, &decode(&photo).2, 512);
    assert!(psnr > 35.0, "{psnr} dB");
    assert_ne!(jpeg, photo);
}

#[test]
fn grey_scene_stays_grey() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("grey.jpg");
    let mut photo = Vec::new();
    Encoder::new(&mut photo, 95).encode(&[119; 64 * 64], 64, 64, ColorType::Luma).unwrap();
    std::fs::write(&path, photo).unwrap();
    let pixels = decode(&encode(&expose(Scene::Photograph(path), 64, 64), b"tiff").unwrap()).2;
    let mean = |channel: usize| {
        let values = pixels.iter().skip(channel).step_by(3);
        values.map(|value| f64::from(*value)).sum::<f64>() / (64.0 * 64.0)
    };
    for channel in 0..3 {
        assert!((mean(channel) - 119.0).abs() < 1.5, "{channel}: {}", mean(channel));
    }
}

#[test]
fn unexpected_encoder_output_is_refused() {
    let pixels = vec![[9; 3]; 16 * 16];
    let good = encode_band(&pixels, 16).unwrap().file;
    assert!(Band::parse(good.clone()).is_some());
    for len in 0..good.len() {
        assert!(Band::parse(good[..len].to_vec()).is_none(), "{len}");
    }
}

use jpeg_encoder::{ColorType, Encoder};
use proptest::prelude::*;

use super::*;

/// A JPEG whose left half is red and whose right half is blue, with a white top row of blocks.
fn red_and_blue(width: u16, height: u16, exif: &[u8]) -> Vec<u8> {
    let pixel = |x: u16, y: u16| match (x < width / 2, y < 8) {
        (_, true) => [255, 255, 255],
        (true, _) => [200, 30, 30],
        (false, _) => [30, 30, 200],
    };
    let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 95);
    if !exif.is_empty() {
        encoder.add_exif_metadata(exif).unwrap();
    }
    encoder.encode(&pixels, width, height, ColorType::Rgb).unwrap();
    file
}

fn exif_with_orientation(orientation: u16) -> Vec<u8> {
    let mut directory = crate::ifd::Directory::default();
    directory.set(0x0112, crate::ifd::Value::short(orientation));
    let mut tiff = crate::ifd::HEADER.to_vec();
    directory.write(&mut tiff).unwrap();
    tiff
}

fn decode(bytes: &[u8]) -> Result<Photograph, PhotographError> {
    Photograph::decode(bytes, Path::new("scene.jpg"))
}

fn linear_rows(photograph: Photograph, width: u32, height: u32) -> Vec<Vec<[f32; 3]>> {
    let size = FrameSize::new(width, height).unwrap();
    let cover = photograph.cover(size);
    let row = |y| {
        let mut out = vec![[f32::NAN; 3]; size.width()];
        cover.row(y, &mut out);
        out
    };
    (0..size.height()).map(row).collect()
}

#[test]
fn picture_is_scaled_to_cover_and_cropped_around_its_centre() {
    // 64 x 32 onto 16 x 16: half the width is cut, a quarter on each side.
    let rows = linear_rows(decode(&red_and_blue(64, 32, &[])).unwrap(), 16, 16);
    let [red, blue] = [rows[12][1], rows[12][14]];
    assert!(red[0] > 0.5 && red[2] < 0.05, "{red:?}");
    assert!(blue[2] > 0.5 && blue[0] < 0.05, "{blue:?}");
    assert!(rows[0][0].iter().all(|value| *value > 0.95), "{:?}", rows[0][0]);
    assert!(rows.iter().flatten().flatten().all(|value| (0.0..=1.0001).contains(value)));
}

#[test]
fn small_pictures_are_enlarged() {
    let rows = linear_rows(decode(&red_and_blue(16, 16, &[])).unwrap(), 64, 48);
    assert!(rows[40][2][0] > 0.5 && rows[40][61][2] > 0.5);
}

#[test]
fn orientation_puts_the_white_top_where_it_belongs() {
    for (orientation, corner) in [(1, (0, 0)), (3, (31, 47)), (6, (31, 0)), (8, (0, 47)), (99, (0, 0))] {
        let (width, height) = if matches!(orientation, 6 | 8) { (48, 32) } else { (32, 48) };
        let turned = decode(&red_and_blue(width, height, &exif_with_orientation(orientation))).unwrap();
        assert_eq!((turned.width, turned.height), (32, 48), "{orientation}");
        let at = |x: usize, y: usize| turned.pixels[y * turned.width + x];
        assert!(at(corner.0, corner.1).iter().all(|value| *value > 230), "{orientation}: {:?}", at(corner.0, corner.1));
    }
}

#[test]
fn what_is_no_photograph_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let good = red_and_blue(64, 48, &[]);
    let open = |path: &Path| Photograph::open(path).map(|_| ());
    assert!(open(&file("good.jpg", &good)).is_ok());
    assert!(matches!(open(folder.path()), Err(PhotographError::NotAFile { .. })));
    assert!(matches!(open(Path::new("/dev/zero")), Err(PhotographError::NotAFile { .. })));
    assert!(matches!(open(&folder.path().join("gone.jpg")), Err(PhotographError::Read { .. })));
    assert!(matches!(open(&file("empty.jpg", b"")), Err(PhotographError::Empty { .. })));
    assert!(matches!(open(&file("text.jpg", b"not a picture")), Err(PhotographError::NotJpeg { .. })));
    assert!(matches!(open(&file("cut.jpg", &good[..good.len() - 2])), Err(PhotographError::Truncated { .. })));
    let error = open(&file("cut.jpg", &good[..good.len() / 2])).unwrap_err();
    assert!(error.to_string().contains("cut.jpg"), "{error}");
    let sparse = file("large.jpg", b"\xff\xd8\xff");
    File::options().write(true).open(&sparse).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(matches!(open(&sparse), Err(PhotographError::FileTooLarge { .. })));
}

#[test]
fn announced_size_is_checked_before_decoding() {
    let mut bomb = red_and_blue(64, 48, &[]);
    let frame_header = bomb.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bomb[frame_header + 5..frame_header + 9].copy_from_slice(&[0xff; 4]);
    assert!(matches!(decode(&bomb), Err(PhotographError::TooManyPixels { width: 65_535, height: 65_535, .. })));
}

#[test]
fn no_prefix_of_a_photograph_is_accepted() {
    let good = red_and_blue(48, 48, &exif_with_orientation(6));
    for len in 0..good.len() {
        assert!(decode(&good[..len]).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn damaged_photographs_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut file = red_and_blue(48, 32, &exif_with_orientation(8));
        for (place, value) in changes {
            *place.get_mut(&mut file) = value;
        }
        if let Ok(photograph) = decode(&file) {
            prop_assert_eq!(photograph.pixels.len(), photograph.width * photograph.height);
        }
    }
}

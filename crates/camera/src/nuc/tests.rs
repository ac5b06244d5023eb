use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use birthmark_service::secret_file::SecretFileError;
use proptest::prelude::*;

use super::testing::{enrol, expose, sensor};
use super::*;
use crate::raw_frame::{RawFormat, RawFrame};
use crate::sensor::simulated::{Scene, model};
use crate::sensor::{Exposure, Sensor as _};

fn size(width: u32, height: u32) -> FrameSize {
    FrameSize::new(width, height).unwrap()
}

const DEVICES: [&str; 5] = ["own", "b", "c", "d", "e"];

#[test]
fn own_sensor_is_told_from_others_with_a_margin_on_every_scene() {
    let size = size(512, 384);
    let map = enrol("own", size, 8, 20);
    for scene in [Scene::Flat(0.5), Scene::Flat(0.2), Scene::Procedural] {
        for (number, device) in DEVICES.into_iter().enumerate() {
            let outcome = compare(&map, &expose(device, size, scene.clone(), 7)).unwrap();
            println!("{scene:?}, {device}: {outcome:?}");
            if number == 0 {
                assert_eq!(outcome.verdict(), Verdict::Same);
                assert!(outcome.z > 3.0 * 8.0, "{outcome:?}");
                let share = outcome.z / outcome.expected;
                assert!((0.6..1.5).contains(&share), "what is expected comes: {outcome:?}");
            } else {
                assert_eq!(outcome.verdict(), Verdict::Another, "{outcome:?}");
                assert!(outcome.z.abs() < 3.9, "{outcome:?}");
            }
        }
    }
}

#[test]
fn z_of_other_sensors_is_normal() {
    let size = size(128, 128);
    let map = enrol("own", size, 4, 20);
    let scores: Vec<f64> = (0..60)
        .map(|device| compare(&map, &expose(&format!("other {device}"), size, Scene::Flat(0.5), 1)).unwrap().z)
        .collect();
    let count = f64::from(u32::try_from(scores.len()).unwrap());
    let mean = scores.iter().sum::<f64>() / count;
    let deviation = (scores.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!(mean.abs() < 0.5, "{mean}");
    assert!((0.75..1.35).contains(&deviation), "{deviation}");
}

#[test]
fn frames_that_cannot_tell_are_inconclusive() {
    let size = size(512, 384);
    let map = enrol("own", size, 4, 10);
    for scene in [Scene::Flat(0.0), Scene::Flat(0.01), Scene::Flat(1.0)] {
        for device in ["own", "b"] {
            let outcome = compare(&map, &expose(device, size, scene.clone(), 3)).unwrap();
            assert_eq!(outcome.verdict(), Verdict::Inconclusive, "{scene:?} {device} {outcome:?}");
        }
    }
    // Too few sites to tell, whatever the light.
    let small = FrameSize::new(16, 16).unwrap();
    let map = enrol("own", small, 4, 4);
    let outcome = compare(&map, &expose("b", small, Scene::Flat(0.5), 3)).unwrap();
    assert_eq!(outcome.verdict(), Verdict::Inconclusive, "{outcome:?}");
}

#[test]
fn frames_of_another_mode_are_refused_by_name() {
    let map = enrol("own", size(64, 64), 4, 4);
    let other = compare(&map, &expose("own", size(64, 66), Scene::Flat(0.5), 1)).unwrap_err();
    assert!(other.to_string().contains("64x64") && other.to_string().contains("64x66"), "{other}");
    let mut model = expose("own", size(64, 64), Scene::Flat(0.5), 1);
    model.metadata.model = "imx708".to_owned();
    assert!(compare(&map, &model).unwrap_err().to_string().contains("imx708"));
    let mut gain = expose("own", size(64, 64), Scene::Flat(0.5), 1);
    gain.metadata.iso = 800;
    assert!(compare(&map, &gain).is_ok(), "any gain can be compared");
}

#[test]
fn map_is_the_sensors_pattern() {
    let size = size(512, 512);
    let map = enrol("own", size, 32, 30);
    let strength = map.strength();
    assert_eq!((strength.darks, strength.flats), (32, 30));
    assert!((strength.prnu / model::PRNU - 1.0).abs() < 0.1, "{strength:?}");
    // At half of the full well 64 electrons of noise on 4090, over 30 flats: 0.29 %, beside a PRNU of 0.6 %.
    assert!((strength.reliability - 0.81).abs() < 0.06, "{strength:?}");
    // 30 ppm of 262,144 sites are warm, and normal values beyond six standard deviations do not occur.
    assert!((2..30).contains(&map.defects()), "{map:?}");
    let weak = enrol("own", size, 4, 4).strength();
    assert!(weak.reliability < strength.reliability - 0.2, "{weak:?}");
    assert!((weak.prnu / model::PRNU - 1.0).abs() < 0.15, "noise of measuring is taken off: {weak:?}");
}

#[test]
fn pattern_of_16_bit_samples_is_the_same() {
    let size = size(256, 256);
    let scaled = |exposure: Exposure| {
        let format = *exposure.raw.format();
        let samples = exposure.raw.canonical_bytes().as_chunks().0.iter();
        let bytes = samples.flat_map(|sample| (u16::from_le_bytes(*sample) << 4).to_le_bytes()).collect();
        let format = RawFormat { black: format.black.map(|black| black * 16.0), white: u16::MAX, ..format };
        Exposure { raw: RawFrame::new(format, bytes).unwrap(), ..exposure }
    };
    let mut enrolment = Enrolment::default();
    for (scene, frames) in [(0.0, 4), (0.5, 20)] {
        let mut sensor = sensor("own", size, Scene::Flat(scene), 100);
        for _ in 0..frames {
            let exposure = scaled(sensor.expose().unwrap());
            if scene > 0.0 { enrolment.flat(exposure) } else { enrolment.dark(exposure) }.unwrap();
        }
    }
    let map = enrolment.finish().unwrap();
    assert!((map.strength().prnu / model::PRNU - 1.0).abs() < 0.1, "{map:?}");
    for (device, verdict) in [("own", Verdict::Same), ("b", Verdict::Another)] {
        let outcome = compare(&map, &scaled(expose(device, size, Scene::Flat(0.4), 1))).unwrap();
        assert_eq!(outcome.verdict(), verdict, "{outcome:?}");
    }
}

#[test]
fn each_measurement_has_a_hash_of_its_own_and_keeps_it() {
    let map = enrol("own", size(64, 64), 4, 4);
    assert_eq!(map.nuc_hash(), enrol("own", size(64, 64), 4, 4).nuc_hash(), "the same frames give the same map");
    assert_ne!(map.nuc_hash(), enrol("own", size(64, 64), 4, 5).nuc_hash());
    assert_ne!(map.nuc_hash(), enrol("b", size(64, 64), 4, 4).nuc_hash());
    let golden = NucMap {
        mode: Mode { model: "imx477".to_owned(), size: size(16, 16), cfa: CfaOrder::Bggr, white: 4095, iso: 100 },
        origin: Origin::Hardware,
        strength: Strength { prnu: 0.006, reliability: 0.8, darks: 32, flats: 30 },
        gain: (0..=255).map(|value: u8| value.cast_signed()).collect(),
        offset: vec![-1; 256],
        defects: vec![3, 200],
    };
    // python3 -c "import hashlib,struct; print(hashlib.sha256(b'birthmark/nuc/v1'+b'\x06imx477'+struct.pack('>HH4BHH',
    //   16,16,2,1,1,0,4095,100)+bytes(range(256))+b'\xff'*256+struct.pack('>3I',2,3,200)).hexdigest())"
    assert_eq!(golden.nuc_hash().to_string(), GOLDEN_HASH);
    let mut changed = golden.clone();
    changed.strength.reliability = 0.1;
    assert_eq!(changed.nuc_hash(), golden.nuc_hash(), "how well it is known is no part of it");
    assert_eq!(NucMap::from_bytes(&golden.to_bytes()), Some(golden));
}

#[test]
fn unfit_exposures_are_refused_by_name() {
    let size = size(64, 64);
    let flat = |level: f32| expose("own", size, Scene::Flat(level), 1);
    let mut enrolment = Enrolment::default();
    assert!(matches!(enrolment.dark(flat(0.1)), Err(EnrolmentError::NotDark { .. })));
    enrolment.dark(flat(0.0)).unwrap();
    assert_eq!(enrolment.dark(flat(0.0)), Err(EnrolmentError::Repeated));
    for level in [0.0, 0.2, 0.9] {
        assert!(matches!(enrolment.flat(flat(level)), Err(EnrolmentError::FlatLevel { .. })), "{level}");
    }
    let uneven = enrolment.flat(expose("own", size, Scene::Procedural, 1));
    assert!(uneven.is_err(), "{uneven:?}");
    let mut other = flat(0.5);
    other.metadata.exposure_time = Duration::from_millis(20);
    assert!(matches!(enrolment.flat(other), Err(EnrolmentError::Changed { .. })));
    let mut file = flat(0.5);
    file.metadata.origin = Origin::OtherProgram;
    assert_eq!(enrolment.flat(file), Err(EnrolmentError::NotASensor));
    enrolment.flat(flat(0.5)).unwrap();
    assert_eq!(enrolment.dark(expose("own", size, Scene::Flat(0.0), 2)), Err(EnrolmentError::Order));
    assert_eq!(enrolment.finish(), Err(EnrolmentError::TooFew { darks: 1, flats: 1 }));
}

/// Every site the same but for noise: a picture of a wall, made by a program.
#[test]
fn flats_without_a_pattern_are_refused() {
    let size = size(64, 64);
    let mut enrolment = Enrolment::default();
    for (level, darks) in [(0.0, true), (0.5, false)] {
        for number in 0..4 {
            // Each frame from another sensor: what they share is nothing.
            let exposure = expose(&format!("{level} {number}"), size, Scene::Flat(level), 1);
            if darks { enrolment.dark(exposure) } else { enrolment.flat(exposure) }.unwrap();
        }
    }
    assert_eq!(enrolment.finish(), Err(EnrolmentError::NoPattern));
}

#[test]
fn map_file_is_private_whole_and_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = map_path(&folder.path().join("device_config.json"));
    assert!(path.ends_with("nuc_map"));
    assert!(matches!(NucMap::load(&path), Err(MapFileError::NotEnrolled { .. })));
    let map = enrol("own", size(64, 64), 4, 4);
    map.create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let loaded = NucMap::load(&path).unwrap();
    assert_eq!((loaded.nuc_hash(), loaded.mode(), loaded.defects()), (map.nuc_hash(), map.mode(), map.defects()));
    let other = enrol("b", size(64, 64), 4, 4);
    assert!(matches!(other.create(&path), Err(MapFileError::File(SecretFileError::Exists { .. }))));
    assert_eq!(NucMap::load(&path).unwrap().nuc_hash(), map.nuc_hash());
    other.replace(&path).unwrap();
    assert_eq!(NucMap::load(&path).unwrap().nuc_hash(), other.nuc_hash());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

    let whole = fs::read(&path).unwrap();
    for damage in [0, 25, 100, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[damage] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert!(matches!(NucMap::load(&path), Err(MapFileError::Damaged { .. })), "{damage}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(NucMap::load(&path), Err(MapFileError::Damaged { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(NucMap::load(&path).unwrap_err().to_string().contains("chmod 600"));
    assert!(!format!("{map:?}").contains("gain"), "the map is not shown");
}

#[test]
fn picture_shows_both_maps_and_does_not_give_them_away() {
    let map = enrol("own", size(256, 128), 4, 4);
    let file = picture(&map).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (2 * 64 + 8, 32));
    let spread = pixels.iter().map(|grey| (f64::from(*grey) - 128.0).powi(2)).sum::<f64>();
    assert!(spread > 0.0);
    assert!(info.width * info.height < 256 * 128 / 4);
}

fn any_map() -> impl Strategy<Value = NucMap> {
    let sites = 16 * 16;
    let bytes = || prop::collection::vec(any::<i8>(), sites);
    let defects = prop::collection::btree_set(0..256_u32, 0..20);
    ("[ -~]{0,64}", any::<bool>(), bytes(), bytes(), defects, any::<[u16; 4]>(), 0..=1_000_000_u32).prop_map(
        |(model, simulated, gain, offset, defects, [white, iso, darks, flats], share)| {
            let share = plane::single(f64::from(share) / 1e6);
            NucMap {
                mode: Mode { model, size: size(16, 16), cfa: CfaOrder::Grbg, white, iso },
                origin: if simulated { Origin::Simulation } else { Origin::Hardware },
                strength: Strength { prnu: share, reliability: share, darks, flats },
                gain,
                offset,
                defects: defects.into_iter().collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn maps_come_back_from_their_files(map in any_map()) {
        prop_assert_eq!(NucMap::from_bytes(&map.to_bytes()), Some(map));
    }

    /// With a checksum that fits, so that the content itself is looked at.
    #[test]
    fn damaged_files_never_panic(map in any_map(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        let mut content = map.to_bytes();
        content.truncate(content.len() - 32);
        for (place, value) in changes {
            let place = place.index(content.len());
            content[place] = value;
        }
        content.truncate(cut.index(content.len()) + 1);
        let checksum = Digest::of_parts(&[&content]);
        content.extend(checksum.as_bytes());
        if let Some(read) = NucMap::from_bytes(&content) {
            prop_assert_eq!(read.gain.len(), read.mode.size.samples());
        }
    }
}

const GOLDEN_HASH: &str = "7f78f3553103dbe0b95f0200157373314a3bdd6e5acbeecb28f70458f6877c15";

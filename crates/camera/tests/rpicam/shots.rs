//! What comes out of a shot, and the name of each reason why nothing does.

use std::io::Cursor;
use std::time::Duration;

use birthmark_camera::dng::DngError;
use birthmark_camera::raw_frame::{CfaOrder, FrameSize};
use birthmark_camera::sensor::Origin;
use birthmark_camera::sensor::rpicam::{ExposureControl, Rpicam, RpicamConfig, RpicamError};
use birthmark_camera::{Picture, Sensor as _};
use birthmark_core::image_data::jpeg_image_data;

use super::fake::{Fake, refused, shot};

#[test]
fn shot_gives_raw_picture_and_metadata_of_a_pi_4() {
    let fake = Fake::new(&[]);
    let mut camera = fake.open();
    let first = shot(&mut camera);
    let format = first.raw.format();
    assert_eq!((format.size, format.cfa, format.white), (FrameSize::new(96, 64).unwrap(), CfaOrder::Bggr, 4095));
    assert!(format.black.iter().all(|black| (black - 256.3).abs() < 0.01), "{format:?}");
    let metadata = &first.metadata;
    assert_eq!((metadata.make.as_str(), metadata.model.as_str()), ("Raspberry Pi", "imx477"));
    assert_eq!((metadata.origin, metadata.frame, metadata.iso), (Origin::Hardware, 1, 100));
    assert_eq!(metadata.exposure_time, Duration::from_micros(9994));
    let Picture::Developed(jpeg) = &first.picture else { panic!("{:?}", first.picture) };
    assert!(jpeg_image_data(jpeg).is_some());
    assert!(exif::Reader::new().read_from_container(&mut Cursor::new(jpeg)).is_ok());
    let second = shot(&mut camera);
    assert_eq!((second.metadata.frame, camera.next_frame()), (2, 3));
    assert_ne!(first.raw.hash(), second.raw.hash());
    assert_eq!(fake.pids().len(), 1, "one run of the program takes all shots");
}

#[test]
fn samples_of_a_pi_5_keep_their_16_bits() {
    let fake = Fake::new(&[]);
    fake.tell("pi", "5");
    let exposure = shot(&mut fake.open());
    let format = exposure.raw.format();
    assert_eq!((format.white, format.bits()), (u16::MAX, 16));
    assert!(format.black.iter().all(|black| (black - 4100.8).abs() < 0.01), "{format:?}");
    assert!(exposure.raw.row(0).iter().all(|sample| u16::from_le_bytes(*sample).is_multiple_of(16)));
}

#[test]
fn fixed_exposure_is_what_the_program_is_told() {
    let fake = Fake::new(&[]);
    let exposure = ExposureControl::Fixed { time: Duration::from_millis(20), gain: 2.5 };
    let mut camera = Rpicam::open(&RpicamConfig { exposure, ..fake.config() }).unwrap();
    let metadata = shot(&mut camera).metadata;
    assert_eq!((metadata.exposure_time, metadata.iso), (Duration::from_millis(20), 250));
}

/// One bad shot between good ones: it is named, costs no number, and the program is a new one after it.
fn one_failure(behaviour: &str, is_named: impl Fn(&RpicamError) -> bool) {
    let fake = Fake::new(&["well", behaviour]);
    let mut camera = fake.open();
    assert_eq!(shot(&mut camera).metadata.frame, 1);
    let error = refused(&mut camera);
    assert!(is_named(&error), "{behaviour}: {error:?}");
    assert_eq!(shot(&mut camera).metadata.frame, 2, "{behaviour}: the next shot works");
    assert_eq!(fake.pids().len(), 2, "{behaviour}");
}

#[test]
fn each_bad_shot_has_a_name_and_the_next_one_works() {
    one_failure("crash", |error| matches!(error, RpicamError::Ended { status, .. } if status.contains("139")));
    one_failure("crash-halfway", |error| matches!(error, RpicamError::Ended { status, .. } if status.contains("255")));
    one_failure("truncated-dng", |error| matches!(error, RpicamError::Dng(DngError::Truncated(_))));
    one_failure("no-dng", |error| matches!(error, RpicamError::MissingFile(name) if name == "000001.dng"));
    one_failure("truncated-jpeg", |error| matches!(error, RpicamError::Jpeg));
    one_failure("stale-metadata", |error| matches!(error, RpicamError::Stale));
    one_failure("other-metadata", |error| matches!(error, RpicamError::Mismatch("DNG")));
    one_failure("empty-metadata", |error| matches!(error, RpicamError::Metadata(_)));
    one_failure("wrong-size", |error| matches!(error, RpicamError::Size { .. }));
    one_failure("wrong-bayer-order", |error| {
        matches!(error, RpicamError::BayerOrder { expected: CfaOrder::Bggr, actual: CfaOrder::Rggb })
    });
}

#[test]
fn shot_that_does_not_come_is_given_up_and_its_program_is_gone() {
    for behaviour in ["hang", "half-metadata"] {
        let fake = Fake::new(&[behaviour]);
        let config = RpicamConfig { shot_timeout: Duration::from_secs(3), ..fake.config() };
        let mut camera = Rpicam::open(&config).unwrap();
        let error = refused(&mut camera);
        assert!(matches!(error, RpicamError::Hung(_)), "{behaviour}: {error:?}");
        let [hung] = fake.pids()[..] else { panic!("{:?}", fake.pids()) };
        assert_eq!(shot(&mut camera).metadata.frame, 1);
        assert!(!super::fake::exists(hung), "{behaviour}: neither it nor its zombie is left");
    }
}

#[test]
fn slow_and_talkative_programs_are_waited_for() {
    let fake = Fake::new(&["slow", "chatty"]);
    let mut camera = fake.open();
    for frame in [1, 2, 3] {
        assert_eq!(shot(&mut camera).metadata.frame, frame);
    }
    assert_eq!(fake.pids().len(), 1);
}

#[test]
fn mosaic_of_the_enrolled_sensor_holds_for_the_first_shot_too() {
    let fake = Fake::new(&["wrong-bayer-order"]);
    let config = RpicamConfig { cfa: Some(CfaOrder::Bggr), ..fake.config() };
    let mut camera = Rpicam::open(&config).unwrap();
    assert!(matches!(refused(&mut camera), RpicamError::BayerOrder { .. }));
    shot(&mut camera);
}

#[test]
fn last_words_are_in_the_message() {
    let fake = Fake::new(&["crash-at-start"; 3]);
    let config =
        RpicamConfig { restart_base: Duration::from_hours(1), restart_max: Duration::from_hours(1), ..fake.config() };
    // The first shot meets the first or the second run, whichever is there.
    let mut camera = Rpicam::open(&config).unwrap();
    let said = match camera.expose().unwrap_err() {
        birthmark_camera::SensorError::Rpicam(error) => error.to_string(),
        other => panic!("{other}"),
    };
    assert!(said.contains("no cameras available") || said.contains("times in a row"), "{said}");
}

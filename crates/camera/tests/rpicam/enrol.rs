//! Enrolling the sensor behind a camera program, and knowing it again.

use std::time::Duration;

use birthmark_camera::nuc::{self, CompareError, Enrolment, Verdict};
use birthmark_camera::raw_frame::FrameSize;
use birthmark_camera::sensor::Origin;
use birthmark_camera::sensor::rpicam::{ExposureControl, Rpicam, RpicamConfig};

use super::fake::{Fake, shot};

fn config(fake: &Fake) -> RpicamConfig {
    RpicamConfig { size: FrameSize::new(256, 192).unwrap(), ..fake.config() }
}

#[test]
fn exchanged_module_is_found_and_the_own_one_known_on_either_pi() {
    for pi in ["4", "5"] {
        // The program fails now and then; the frames between are as good as any.
        let fake = Fake::new(&["well", "well", "well", "well", "crash"]);
        fake.tell("pi", pi);
        fake.tell("device", "own");
        fake.tell("scene", "dark");
        let exposure = ExposureControl::Fixed { time: Duration::from_millis(20), gain: 1.0 };
        let mut camera = Rpicam::open(&RpicamConfig { exposure, ..config(&fake) }).unwrap();
        let mut enrolment = Enrolment::default();
        for _ in 0..4 {
            enrolment.dark(shot(&mut camera)).unwrap();
        }
        fake.tell("scene", "flat");
        super::fake::refused(&mut camera);
        for _ in 0..12 {
            enrolment.flat(shot(&mut camera)).unwrap();
        }
        drop(camera);
        let map = enrolment.finish().unwrap();
        assert_eq!((map.origin(), map.mode().model()), (Origin::Hardware, "imx477"));

        fake.tell("scene", "painted");
        for (device, verdict) in [("own", Verdict::Same), ("another", Verdict::Another)] {
            fake.tell("device", device);
            let frame = shot(&mut Rpicam::open(&config(&fake)).unwrap());
            let comparison = nuc::compare(&map, &frame).unwrap();
            assert_eq!(comparison.verdict(), verdict, "Pi {pi}, {device}: {comparison:?}");
        }
        fake.tell("pi", if pi == "4" { "5" } else { "4" });
        let frame = shot(&mut Rpicam::open(&config(&fake)).unwrap());
        assert!(matches!(nuc::compare(&map, &frame), Err(CompareError::Mode { .. })), "another scale");
    }
}

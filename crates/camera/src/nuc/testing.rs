//! Simulated sensors to enrol in tests.

use crate::raw_frame::FrameSize;
use crate::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use crate::sensor::{Exposure, Sensor as _};

use super::{Enrolment, NucMap};

pub(super) fn sensor(label: &str, size: FrameSize, scene: Scene, first_frame: u64) -> SimulatedImx477 {
    SimulatedImx477::new(SimulatedConfig { seed: DeviceSeed::from_label(label), size, scene, first_frame }).unwrap()
}

pub(super) fn expose(label: &str, size: FrameSize, scene: Scene, frame: u64) -> Exposure {
    sensor(label, size, scene, frame).expose().unwrap()
}

/// Enrols a device. The frame numbers are none that a test photographs with.
pub(super) fn enrol(label: &str, size: FrameSize, darks: u32, flats: u32) -> NucMap {
    let mut enrolment = Enrolment::default();
    let mut dark = sensor(label, size, Scene::Flat(0.0), 1 << 40);
    for _ in 0..darks {
        enrolment.dark(dark.expose().unwrap()).unwrap();
    }
    let mut flat = sensor(label, size, Scene::Flat(0.5), 1 << 41);
    for _ in 0..flats {
        enrolment.flat(flat.expose().unwrap()).unwrap();
    }
    enrolment.finish().unwrap()
}

//! Photographs of other programs and captures of a sensor never share a queue.

use std::fs;
use std::sync::Arc;

use birthmark_camera::capture::{Camera, CameraSettings, CaptureError};
use birthmark_camera::device::ElementKind;
use birthmark_camera::exif::TimeSource;
use birthmark_camera::queue::Queue;
use birthmark_camera::sensor::Origin;
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::{FrameSize, Sensor, dng};
use birthmark_core::ImageHash;
use birthmark_core::time::UnixSeconds;
use birthmark_service::clock::ManualClock;

use super::folder::Folder;

fn settings<S: Sensor>(folder: &Folder, sensor: S) -> CameraSettings<S> {
    CameraSettings {
        data: folder.data().to_owned(),
        queue: Queue::open(folder.data()).unwrap(),
        frames: 1..10,
        sensor,
        clock: Arc::new(ManualClock::at(UnixSeconds(1_733_259_600))),
        time_source: TimeSource::Unsynced,
        element: ElementKind::Software,
    }
}

fn simulated(first_frame: u64) -> SimulatedImx477 {
    let (seed, size) = (DeviceSeed::from_label("own"), FrameSize::new(64, 48).unwrap());
    SimulatedImx477::new(SimulatedConfig { seed, size, scene: Scene::Procedural, first_frame }).unwrap()
}

#[test]
fn photograph_of_another_program_is_kept_as_it_is_and_only_once() {
    let folder = Folder::new();
    let files = Folder::photograph(1);
    folder.put("a", &files);
    let (mut camera, _) = Camera::open_for_other_programs(settings(&folder, folder.open())).unwrap();
    let captured = camera.capture(&mut |_| ()).unwrap();
    assert_eq!(fs::read(&captured.jpeg).unwrap(), files.jpeg);
    assert_eq!(captured.processed_hash, ImageHash::of(&files.jpeg));
    let kept = fs::read(&captured.dng).unwrap();
    assert_eq!(dng::read_canonical_raw(&kept).unwrap().hash(), files.exposure.raw.hash());
    assert!(String::from_utf8_lossy(&kept).contains("sensor=other program"));
    assert!(camera.capture(&mut |_| ()).is_err(), "nothing new has come");
    drop(camera);
    let (mut again, _) = Camera::open_for_other_programs(settings(&folder, folder.open())).unwrap();
    assert!(again.capture(&mut |_| ()).is_err(), "nor after a restart");
}

#[test]
fn a_sensors_camera_refuses_photographs_of_other_programs_and_the_reverse() {
    let folder = Folder::new();
    folder.put("a", &Folder::photograph(1));
    let (mut camera, _) = Camera::open(settings(&folder, folder.open())).unwrap();
    let refused = camera.capture(&mut |_| ()).unwrap_err();
    assert!(matches!(refused, CaptureError::Source(Origin::OtherProgram)), "{refused}");
    let other = Folder::new();
    let (mut camera, _) = Camera::open_for_other_programs(settings(&other, simulated(1))).unwrap();
    let refused = camera.capture(&mut |_| ()).unwrap_err();
    assert!(matches!(refused, CaptureError::Source(Origin::Simulation)), "{refused}");
}

#[test]
fn data_folder_of_one_kind_is_refused_to_the_other() {
    let folder = Folder::new();
    folder.put("a", &Folder::photograph(1));
    let (mut camera, _) = Camera::open_for_other_programs(settings(&folder, folder.open())).unwrap();
    camera.capture(&mut |_| ()).unwrap();
    let refused = |folder: &Folder| Camera::open(settings(folder, simulated(2))).unwrap_err().to_string();
    assert!(refused(&folder).contains("photographs of other programs"), "while it is at work");
    drop(camera);
    assert!(refused(&folder).contains("photographs of other programs"));

    let own = Folder::new();
    let (mut camera, _) = Camera::open(settings(&own, simulated(1))).unwrap();
    camera.capture(&mut |_| ()).unwrap();
    drop(camera);
    let refused = Camera::open_for_other_programs(settings(&own, own.open())).unwrap_err().to_string();
    assert!(refused.contains("photographs of a sensor"), "{refused}");
}

//! From the camera program to the queue.

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use birthmark_camera::capture::{Camera, CameraSettings, CaptureError};
use birthmark_camera::device::ElementKind;
use birthmark_camera::dng;
use birthmark_camera::exif::TimeSource;
use birthmark_camera::queue::Queue;
use birthmark_core::ImageHash;
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::time::UnixSeconds;
use birthmark_service::clock::ManualClock;
use exif::{In, Tag};

use super::fake::Fake;

#[tokio::test(flavor = "multi_thread")]
async fn photographs_are_kept_with_our_metadata_and_failures_between_them_cost_nothing_else() {
    let fake = Fake::new(&["well", "truncated-dng", "well", "crash"]);
    let data = tempfile::tempdir().unwrap();
    let queue = Queue::open(data.path()).unwrap();
    let (mut camera, _) = Camera::open(CameraSettings {
        data: data.path().to_owned(),
        queue: queue.clone(),
        frames: 1..10,
        sensor: fake.open(),
        clock: Arc::new(ManualClock::at(UnixSeconds(1_733_259_600))),
        time_source: TimeSource::Ntp,
        element: ElementKind::Software,
    })
    .unwrap();
    let mut kept = Vec::new();
    for good in [true, false, true, false, true] {
        let captured = camera.capture(&mut |_| ());
        assert_eq!(captured.is_ok(), good, "{captured:?}");
        match captured {
            Ok(captured) => kept.push(captured),
            Err(error) => assert!(matches!(error, CaptureError::Sensor(_)), "{error}"),
        }
    }
    assert_eq!(kept.iter().map(|captured| captured.frame).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queue.counts().await.unwrap().queued, 3);
    for captured in kept {
        let jpeg = fs::read(&captured.jpeg).unwrap();
        assert_eq!(ImageHash::of(&jpeg), captured.processed_hash);
        assert_eq!(jpeg_image_data(&jpeg), Some(captured.image_data_hash));
        let exif = exif::Reader::new().read_from_container(&mut Cursor::new(&jpeg)).unwrap();
        let field = |tag| exif.get_field(tag, In::PRIMARY).unwrap().display_value().to_string();
        assert_eq!(field(Tag::Model), "\"imx477\"");
        assert_eq!(field(Tag::DateTimeOriginal), "2024-12-03 21:00:00");
        let comment = format!("sensor=hardware; frame={}; time_source=ntp", captured.frame);
        assert!(jpeg.windows(comment.len()).any(|bytes| bytes == comment.as_bytes()));
        assert_eq!(jpeg.windows(6).filter(|bytes| *bytes == b"Exif\0\0").count(), 1, "the program's own is gone");
        let raw = dng::read_canonical_raw(&fs::read(&captured.dng).unwrap()).unwrap();
        assert_eq!(raw.hash(), captured.raw_hash);
    }
}

use std::fs;
use std::path::{Path, PathBuf};

use birthmark_camera::capture::{CaptureError, Recovery};
use birthmark_camera::dng;
use birthmark_camera::exif::TimeSource;
use birthmark_camera::queue::Queue;
use birthmark_camera::upload::Outcome;
use birthmark_core::ImageHash;
use birthmark_core::image_data::jpeg_image_data;
use birthmark_core::time::UnixSeconds;

use super::aggregator::Aggregator;
use super::field::{DEADLINE, Field};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn exposure_becomes_two_files_a_row_and_a_proof() {
    let (field, aggregator) = (Field::new(), Aggregator::start([]).await);
    let (mut camera, recovery) = field.camera(1).unwrap();
    assert_eq!(recovery, Recovery::default());
    let mut lines = Vec::new();
    let captured = camera.capture(&mut |step| lines.push(step.to_string())).unwrap();

    let jpeg = fs::read(&captured.jpeg).unwrap();
    assert_eq!(captured.processed_hash, ImageHash::of(&jpeg), "the bytes on disk");
    assert_eq!(Some(captured.image_data_hash), jpeg_image_data(&jpeg));
    let raw = dng::read_canonical_raw(&fs::read(&captured.dng).unwrap()).unwrap();
    assert_eq!(captured.raw_hash, raw.hash());
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("Raw Bayer captured (0.0MP, 96x64, simulated"), "{lines:?}");
    assert!(lines[1].contains("software key, no TPM") && lines[4].starts_with("Captured"), "{lines:?}");

    let outcome =
        field.uploader(&aggregator.url()).submit_one(captured.photo, Some(DEADLINE), &field.on_step()).await.unwrap();
    let Outcome::Confirmed { proof: Some(proof), .. } = outcome else { panic!("{outcome:?}") };
    assert!(field.path().join(proof).exists());
    let hashes: Vec<_> = aggregator.bodies()[0]["image_hashes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image_hash"].as_str().unwrap().to_owned())
        .collect();
    let expected = [captured.raw_hash, captured.processed_hash, captured.image_data_hash];
    assert_eq!(hashes, expected.map(|hash| hash.to_string()));
}

#[test]
fn numbers_go_on_and_no_two_exposures_are_alike() {
    let field = Field::new();
    let mut hashes = Vec::new();
    for run in 0..2 {
        let (mut camera, _) = field.camera(2).unwrap();
        for shot in 0..2 {
            let captured = camera.capture(&mut |_| ()).unwrap();
            assert_eq!(captured.frame, run * 2 + shot + 1);
            hashes.push(captured.raw_hash);
        }
        let beyond = camera.capture(&mut |_| ());
        assert!(matches!(beyond, Err(CaptureError::Frame { .. })), "{beyond:?}");
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 4);
}

#[test]
fn capture_waits_for_no_clock() {
    let field = Field::new();
    field.clock.set(UnixSeconds(0));
    field.camera(1).unwrap().0.capture(&mut |_| ()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn photograph_without_its_row_is_recovered_and_leftovers_are_removed() {
    // A kill between the files and the row leaves what a camera with another queue leaves.
    let (field, elsewhere) = (Field::new(), Field::new());
    let captured = {
        let (mut camera, _) = elsewhere.camera(1).unwrap();
        camera.capture(&mut |_| ()).unwrap()
    };
    let photos = field.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for file in [&captured.jpeg, &captured.dng] {
        fs::copy(file, photos.join(file.file_name().unwrap())).unwrap();
    }
    fs::copy(&captured.dng, photos.join("IMG_000002.dng")).unwrap();
    fs::write(photos.join("IMG_000003.jpg"), b"no JPEG").unwrap();
    fs::write(photos.join("IMG_000003.dng"), b"no DNG").unwrap();
    fs::write(photos.join(".IMG_000004.jpg.1-0.birthmark-partial"), b"half").unwrap();
    fs::write(photos.join("notes.txt"), b"mine").unwrap();

    let (camera, recovery) = field.camera(1).unwrap();
    let [id] = recovery.recovered[..] else { panic!("{recovery:?}") };
    let row = field.queue.photo(id).await.unwrap();
    assert_eq!(
        (row.photo.frame, row.photo.hashes.raw, row.photo.hashes.processed),
        (1, captured.raw_hash, captured.processed_hash)
    );
    assert_eq!(row.photo.time_source, TimeSource::Unsynced);
    assert_eq!(recovery.leftovers, 1);
    let incomplete: Vec<PathBuf> =
        ["photos/IMG_000002.dng", "photos/IMG_000003.jpg", "photos/IMG_000003.dng"].map(PathBuf::from).to_vec();
    assert_eq!(recovery.incomplete, incomplete);
    assert!(photos.join("notes.txt").exists() && photos.join("IMG_000003.jpg").exists());
    drop(camera);
    let (_camera, again) = field.camera(1).unwrap();
    assert_eq!((again.recovered.len(), again.incomplete), (0, incomplete));
}

#[test]
fn camera_at_work_keeps_others_from_mending() {
    let field = Field::new();
    let (mut first, _) = field.camera(1).unwrap();
    let photos = field.path().join("photos");
    fs::write(photos.join(".IMG_000009.jpg.1-0.birthmark-partial"), b"being written").unwrap();
    let (mut second, recovery) = field.camera(1).unwrap();
    assert_eq!(recovery, Recovery::default());
    assert_ne!(first.capture(&mut |_| ()).unwrap().frame, second.capture(&mut |_| ()).unwrap().frame);
    drop((first, second));
    assert_eq!(field.camera(1).unwrap().1.leftovers, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_file_is_never_overwritten_and_leaves_no_row() {
    let field = Field::new();
    let (mut camera, _) = field.camera(2).unwrap();
    let photos = field.path().join("photos");
    fs::write(photos.join("IMG_000001.jpg"), b"holiday").unwrap();
    let refused = camera.capture(&mut |_| ()).unwrap_err();
    assert!(refused.to_string().contains("IMG_000001.jpg exists already"), "{refused}");
    assert_eq!(fs::read(photos.join("IMG_000001.jpg")).unwrap(), b"holiday");
    assert_eq!(names(&photos), [".lock", "IMG_000001.jpg"], "its DNG is taken away again");
    assert_eq!(field.queue.counts().await.unwrap().queued, 0);
    assert_eq!(camera.capture(&mut |_| ()).unwrap().frame, 2, "the next shot works");
}

#[tokio::test(flavor = "multi_thread")]
async fn photograph_that_cannot_be_queued_stays_on_disk_and_is_queued_at_the_next_start() {
    let mut field = Field::new();
    let (mut camera, _) = field.camera(1).unwrap();
    field.queue.close().await;
    let error = camera.capture(&mut |_| ()).unwrap_err();
    assert!(matches!(error, CaptureError::Unqueued { .. }), "{error}");
    drop(camera);
    field.queue = Queue::open(field.path()).unwrap();
    let (_camera, recovery) = field.camera(1).unwrap();
    assert_eq!(recovery.recovered.len(), 1);
}

#[test]
fn unusable_data_folders_are_named() {
    let field = Field::new();
    fs::write(field.path().join("photos"), b"a file where the folder should be").unwrap();
    let error = field.camera(1).unwrap_err().to_string();
    assert!(error.contains("photos"), "{error}");
    let error = Queue::open(Path::new("/proc")).unwrap_err().to_string();
    assert!(error.contains("/proc/"), "{error}");
}

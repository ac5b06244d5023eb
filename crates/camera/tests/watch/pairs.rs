//! When a pair is taken, and what becomes of one that is none.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use birthmark_camera::dng::DngError;
use birthmark_camera::sensor::Origin;
use birthmark_camera::sensor::watch::{Watch, WatchConfig, WatchError};
use birthmark_camera::{Picture, Sensor as _};

use super::folder::{Folder, refused};

#[test]
fn pair_is_taken_once_byte_for_byte_and_as_no_capture_of_a_sensor() {
    let folder = Folder::new();
    let files = Folder::photograph(1);
    folder.put("a", &files);
    let mut watch = folder.open();
    let exposure = watch.expose().unwrap();
    assert_eq!(exposure.raw.hash(), files.exposure.raw.hash());
    assert_eq!(exposure.picture, Picture::Published(files.jpeg.clone()));
    assert_eq!((exposure.metadata.origin, exposure.metadata.frame), (Origin::OtherProgram, 1));
    assert_eq!(exposure.metadata.exposure_time, Duration::from_millis(10));
    watch.kept();
    assert!(matches!(refused(&mut watch), WatchError::Idle(_)));
    assert!(matches!(refused(&mut folder.open()), WatchError::Idle(_)), "nor after a restart");
    assert_eq!(fs::read(folder.path("a.jpg")).unwrap(), files.jpeg, "the folder is only read");
}

#[test]
fn pair_that_was_not_kept_is_given_again() {
    let folder = Folder::new();
    folder.put("a", &Folder::photograph(1));
    let mut watch = folder.open();
    let first = watch.expose().unwrap().raw.hash();
    assert_eq!(watch.expose().unwrap().raw.hash(), first);
    assert_eq!(folder.open().expose().unwrap().raw.hash(), first);
}

#[test]
fn another_picture_under_an_old_name_is_another_photograph() {
    let folder = Folder::new();
    folder.put("a", &Folder::photograph(1));
    let mut watch = folder.open();
    let first = watch.expose().unwrap();
    watch.kept();
    let other = Folder::photograph(2);
    folder.put("a", &other);
    // The file system's clock may not have moved on between the two.
    let later = std::time::UNIX_EPOCH + Duration::from_secs(9);
    fs::File::options().write(true).open(folder.path("a.jpg")).unwrap().set_modified(later).unwrap();
    let second = watch.expose().unwrap();
    assert_ne!(first.raw.hash(), second.raw.hash());
    assert_eq!(second.metadata.frame, 2);
}

#[test]
fn damaged_pair_is_named_once_and_does_not_block_the_others() {
    let folder = Folder::new();
    let good = Folder::photograph(1);
    let mut cut = Folder::photograph(2);
    cut.dng.truncate(cut.dng.len() / 2);
    folder.put("a", &cut);
    let mut compressed = Folder::photograph(3);
    let tag = compressed.dng.windows(8).position(|bytes| bytes == [3, 1, 3, 0, 1, 0, 0, 0]).unwrap();
    compressed.dng[tag + 8] = 7;
    folder.put("b", &compressed);
    let mut half = Folder::photograph(4);
    half.jpeg.truncate(half.jpeg.len() - 2);
    folder.put("c", &half);
    let mut other = Folder::photograph(5);
    // The first of these is the sensitivity's entry, the last the exposure time.
    let exposed = other.jpeg.windows(8).rposition(|bytes| bytes == [1, 0, 0, 0, 100, 0, 0, 0]).unwrap();
    other.jpeg[exposed + 4] = 50;
    folder.put("d", &other);
    folder.put("e", &good);

    let mut watch = folder.open();
    let (mut reasons, mut kept) = (Vec::new(), 0);
    loop {
        match watch.expose() {
            Ok(exposure) => {
                assert_eq!(exposure.raw.hash(), good.exposure.raw.hash());
                watch.kept();
                kept += 1;
            }
            Err(birthmark_camera::SensorError::Watch(WatchError::Idle(_))) => break,
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons.sort();
    assert_eq!(kept, 1);
    assert_eq!(
        reasons,
        [
            "a.dng: the DNG is cut off: its strip lies beyond the end of the file",
            "b.dng: the DNG's compression is 7, and only 1 is supported",
            "c.jpg: not a complete JPEG",
            "d.jpg: DNG and JPEG have different exposure times; they are not of the same exposure",
        ]
    );
    fs::write(folder.path("a.dng"), Folder::photograph(2).dng).unwrap();
    assert!(watch.expose().is_ok(), "what has become whole is taken");
}

#[test]
fn file_that_is_being_written_is_waited_for() {
    let folder = Folder::new();
    let files = Folder::photograph(1);
    fs::write(folder.path("a.dng"), &files.dng[..1000]).unwrap();
    fs::write(folder.path("a.jpg"), &files.jpeg).unwrap();
    let config = WatchConfig {
        settle: Duration::from_millis(200),
        give_up: Duration::from_mins(1),
        patience: Duration::from_mins(1),
        ..folder.config()
    };
    let mut watch = Watch::open(config).unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(watch.expose().map(|exposure| exposure.raw.hash())).unwrap());
        // Longer than `settle`: a half file that rests is not taken for a whole one.
        assert!(receiver.recv_timeout(Duration::from_secs(1)).is_err());
        fs::write(folder.path(".a.tmp"), &files.dng).unwrap();
        fs::rename(folder.path(".a.tmp"), folder.path("a.dng")).unwrap();
        let taken = receiver.recv_timeout(Duration::from_mins(1)).unwrap().unwrap();
        assert_eq!(taken, files.exposure.raw.hash());
    });
}

#[test]
fn files_that_are_no_pair_are_left_alone() {
    let folder = Folder::new();
    let files = Folder::photograph(1);
    folder.put("a", &files);
    fs::rename(folder.path("a.jpg"), folder.path("b.jpg")).unwrap();
    symlink(folder.path("b.jpg"), folder.path("a.jpg")).unwrap();
    assert!(matches!(refused(&mut folder.open()), WatchError::Idle(_)));
    let config = WatchConfig { folder: "/nowhere".into(), ..folder.config() };
    assert!(matches!(Watch::open(config), Err(WatchError::Folder { .. })));
}

#[test]
fn truncated_directory_counts_as_unfinished() {
    let folder = Folder::new();
    let files = Folder::photograph(1);
    folder.put("a", &files);
    fs::write(folder.path("a.dng"), b"II").unwrap();
    let mut patient = Watch::open(WatchConfig { give_up: Duration::from_mins(1), ..folder.config() }).unwrap();
    assert!(matches!(refused(&mut patient), WatchError::Idle(_)));
    assert!(matches!(refused(&mut folder.open()), WatchError::Dng { cause: DngError::NotTiff, .. }));
}

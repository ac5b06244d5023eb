//! The life of the camera program: it is there when it is needed, and only then.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use birthmark_camera::sensor::rpicam::{Rpicam, RpicamConfig, RpicamError};
use birthmark_camera::{Sensor as _, SensorError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::fake::{DEADLINE, Fake, PROGRAM, exists, refused, shot};

/// Waits until something is so, which it soon is.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn program_ends_with_the_camera_and_leaves_nothing() {
    let fake = Fake::new(&[]);
    let mut camera = fake.open();
    shot(&mut camera);
    let [pid] = fake.pids()[..] else { panic!("{:?}", fake.pids()) };
    assert!(exists(pid));
    let left =
        || fs::read_dir(fake.scratch()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".lock").count();
    assert_eq!(left(), 1);
    drop(camera);
    assert!(!exists(pid), "neither it nor its zombie");
    assert_eq!(left(), 0);
}

#[test]
fn hung_program_ends_with_the_camera_too() {
    let fake = Fake::new(&["hang"]);
    let config = RpicamConfig { shot_timeout: Duration::from_millis(500), ..fake.config() };
    let mut camera = Rpicam::open(&config).unwrap();
    // Hung, or still starting where the machine is slow.
    assert!(matches!(refused(&mut camera), RpicamError::Hung(_)));
    drop(camera);
    assert!(fake.pids().into_iter().all(|pid| !exists(pid)));
}

#[tokio::test]
async fn program_that_dies_between_shots_is_started_again_at_once() {
    let fake = Fake::new(&[]);
    let mut camera = fake.open();
    until("the first start", || fake.pids().len() == 1).await;
    for killed in 1..=3 {
        let pid = Pid::from_raw(*fake.pids().last().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        until("the next start", || fake.pids().len() == killed + 1).await;
    }
    assert_eq!(shot(&mut camera).metadata.frame, 1);
}

#[tokio::test]
async fn program_that_always_dies_is_started_ever_more_rarely() {
    let fake = Fake::new(&["crash-at-start"; 50]);
    let config = RpicamConfig {
        restart_base: Duration::from_millis(1),
        restart_max: Duration::from_hours(1),
        shot_timeout: Duration::from_millis(300),
        ..fake.config()
    };
    let mut camera = Rpicam::open(&config).unwrap();
    let start = Instant::now();
    // Back-off doubles: it comes to the point where a shot's time is too short for the next start.
    loop {
        let error = refused(&mut camera);
        if matches!(error, RpicamError::Resting { failures } if failures > 3) {
            break;
        }
        assert!(matches!(error, RpicamError::Ended { .. } | RpicamError::Resting { .. }), "{error:?}");
        assert!(start.elapsed() < DEADLINE);
    }
    assert!(fake.pids().len() < 45, "{}", fake.pids().len());
}

#[tokio::test]
async fn killed_user_takes_the_program_along() {
    let fake = Fake::new(&[]);
    let mut user = Command::new(PROGRAM).arg("hold").arg(fake.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(user.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let [pid] = fake.pids()[..] else { panic!("{:?}", fake.pids()) };
    assert!(exists(pid));
    user.kill().unwrap();
    user.wait().unwrap();
    // Whether it is a zombie for a moment is up to whoever has adopted it.
    let gone = || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    until("the end of the program", gone).await;
    // What the killed user left in memory is removed by the next one.
    let mut camera = fake.open();
    shot(&mut camera);
    let folders = fs::read_dir(fake.scratch()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(folders, 1);
}

#[test]
fn cameras_do_not_disturb_each_other() {
    let (one, two) = (Fake::new(&["crash"]), Fake::new(&[]));
    let scratch = tempfile::tempdir().unwrap();
    let open =
        |fake: &Fake| Rpicam::open(&RpicamConfig { scratch: scratch.path().to_owned(), ..fake.config() }).unwrap();
    let (mut first, mut second) = (open(&one), open(&two));
    refused(&mut first);
    shot(&mut second);
    drop(second);
    shot(&mut first);
}

#[test]
fn missing_programs_and_folders_are_named() {
    let fake = Fake::new(&[]);
    let program = PathBuf::from("no-such-camera-program");
    let error = Rpicam::open(&RpicamConfig { program, ..fake.config() }).unwrap_err();
    assert!(error.to_string().contains("no-such-camera-program: no such program; install rpicam-apps"), "{error}");
    let scratch = PathBuf::from("/proc/none");
    let error = Rpicam::open(&RpicamConfig { scratch, ..fake.config() }).unwrap_err();
    assert!(error.to_string().contains("/proc/none"), "{error}");
}

#[test]
fn last_number_is_not_given_twice() {
    let fake = Fake::new(&[]);
    let mut camera = Rpicam::open(&RpicamConfig { first_frame: u64::MAX, ..fake.config() }).unwrap();
    for _ in 0..2 {
        assert!(matches!(camera.expose(), Err(SensorError::FramesExhausted)));
    }
}

//! Stands in for `rpicam-still` in tests: the same flags, standard input and order of files, with the
//! frames of the simulated sensor.
//!
//! For: proving on any machine what the camera does when that program misbehaves. Not for: users.
//!
//! It is told what to do by files in the folder from which it was started (a test puts a link there):
//! ```text
//! plan    a word for each shot, a line each, used up: see `Behaviour`; without a line, all is well
//! scene   dark, flat, or anything else for the painted scene
//! device  the name that the sensor's seed is made from
//! pi      5: samples of 16 bits, as a Raspberry Pi 5 gives them
//! pid     is written: the process, one line for each start
//! ```
//! `fake-rpicam-still hold FOLDER` is no camera program but one that uses the one in the folder, says so by
//! a line, and waits to be killed.

mod behaviour;
mod dng;
mod options;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use birthmark_camera::exif::{CaptureDetails, CaptureTime, TimeSource};
use birthmark_camera::raw_frame::{CfaOrder, FrameSize, RawFormat, RawFrame};
use birthmark_camera::sensor::rpicam::{Rpicam, RpicamConfig};
use birthmark_camera::sensor::simulated::{DeviceSeed, Scene, SimulatedConfig, SimulatedImx477};
use birthmark_camera::{Exposure, Sensor as _, jpeg};
use birthmark_core::time::UnixSeconds;

use crate::behaviour::Behaviour;
use crate::dng::dng;
use crate::options::Options;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // As the real one says it.
            drop(writeln!(io::stderr(), "ERROR: *** {error} ***"));
            ExitCode::from(255)
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let mut arguments = env::args_os();
    let program = PathBuf::from(arguments.next().ok_or("no name")?);
    let home = program.parent().ok_or("no folder")?.to_owned();
    let arguments: Vec<String> =
        arguments.map(|argument| argument.into_string().map_err(|_| "not text")).collect::<Result<_, _>>()?;
    if let [hold, folder] = arguments.as_slice()
        && hold == "hold"
    {
        return hold_camera(&PathBuf::from(folder));
    }
    let options = Options::parse(&arguments)?;
    let mut starts = OpenOptions::new().append(true).create(true).open(home.join("pid"))?;
    writeln!(starts, "{}", std::process::id())?;
    let mut camera = Camera { home, options, number: 0, last_metadata: None };
    if camera.peek()? == Some(Behaviour::CrashAtStart) {
        camera.next_behaviour()?;
        return Err("no cameras available".into());
    }
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "" => {
                if let Some(code) = camera.shot()? {
                    return Ok(code);
                }
            }
            "x" | "X" => return Ok(ExitCode::SUCCESS),
            _ => {}
        }
    }
    // The real one takes no notice of the end of its input.
    wait_for_ever()
}

struct Camera {
    home: PathBuf,
    options: Options,
    number: u32,
    last_metadata: Option<String>,
}

impl Camera {
    /// Takes a shot, or says with which code the program ends.
    fn shot(&mut self) -> Result<Option<ExitCode>, Failure> {
        let behaviour = self.next_behaviour()?;
        match behaviour {
            Behaviour::Crash => return Ok(Some(ExitCode::from(139))),
            Behaviour::Hang => wait_for_ever(),
            Behaviour::Slow => std::thread::sleep(Duration::from_secs(1)),
            Behaviour::Chatty => {
                for number in 0..100_000 {
                    writeln!(
                        io::stderr(),
                        "WARN line {number} of very many, each about a hundred bytes long {:>40}",
                        "|"
                    )?;
                }
            }
            _ => {}
        }
        let number = self.number;
        self.number += 1;
        let exposure = self.expose(behaviour)?;
        let jpeg_path = PathBuf::from(self.options.output.replace("%06d", &format!("{number:06}")));
        let mut picture = jpeg::encode(&exposure.raw, &exif_of(&exposure)?)?;
        if behaviour == Behaviour::TruncatedJpeg {
            picture.truncate(picture.len() / 2);
        }
        fs::write(&jpeg_path, picture)?;
        if behaviour == Behaviour::CrashHalfway {
            return Ok(Some(ExitCode::from(255)));
        }
        if behaviour != Behaviour::NoDng {
            let mut file = dng(&exposure, self.options.shutter);
            if behaviour == Behaviour::TruncatedDng {
                file.truncate(file.len() * 3 / 4);
            }
            fs::write(jpeg_path.with_extension("dng"), file)?;
        }
        // The time of a file moves on from shot to shot and from run to run, as the sensor's does.
        let timestamp = fs::metadata(&jpeg_path)?.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
        self.write_metadata(behaviour, timestamp)?;
        Ok(None)
    }

    fn write_metadata(&mut self, behaviour: Behaviour, timestamp: u128) -> Result<(), Failure> {
        let Options { shutter, gain, .. } = self.options;
        let shutter = if behaviour == Behaviour::OtherMetadata { shutter * 2 } else { shutter };
        let text = format!(
            "{{\n    \"ScalerCrop\": \"(0, 0)/4056x3040\",\n    \"SensorTimestamp\": {timestamp},\n    \
             \"ExposureTime\": {shutter},\n    \"ColourGains\": [ 2.126434, 1.893823 ],\n    \"AnalogueGain\": {gain:.6}\n}}"
        );
        let last = self.last_metadata.replace(text.clone());
        let text = match behaviour {
            Behaviour::StaleMetadata => last.unwrap_or(text),
            Behaviour::EmptyMetadata => "{\n}".to_owned(),
            Behaviour::HalfMetadata => text.chars().take(text.len() / 2).collect(),
            _ => text,
        };
        Ok(fs::write(&self.options.metadata, text)?)
    }

    fn expose(&self, behaviour: Behaviour) -> Result<Exposure, Failure> {
        let scene = match self.told("scene").as_str() {
            "dark" => Scene::Flat(0.0),
            "flat" => Scene::Flat(0.5),
            _ => Scene::Procedural,
        };
        let (width, height) = self.options.size.sides();
        let size = match behaviour {
            Behaviour::WrongSize => FrameSize::new(u32::from(width) + 2, u32::from(height))?,
            _ => self.options.size,
        };
        let seed = DeviceSeed::from_label(&format!("fake {}", self.told("device")));
        // No two shots of a device have the same noise, whichever run of the program takes them.
        let first_frame = (self.home.join("pid").metadata()?.len() << 20) + u64::from(self.number);
        let config = SimulatedConfig { seed, size, scene, first_frame };
        let mut exposure = SimulatedImx477::new(config)?.expose()?;
        let mut format = *exposure.raw.format();
        let mut samples = exposure.raw.canonical_bytes().to_vec();
        if self.told("pi") == "5" {
            for sample in samples.as_chunks_mut().0 {
                *sample = (u16::from_le_bytes(*sample) << 4).to_le_bytes();
            }
            format = RawFormat { black: format.black.map(|black| black * 16.0), white: u16::MAX, ..format };
        }
        if behaviour == Behaviour::WrongBayerOrder {
            format.cfa = CfaOrder::Rggb;
        }
        exposure.raw = RawFrame::new(format, samples)?;
        exposure.metadata.exposure_time = Duration::from_micros(self.options.shutter);
        exposure.metadata.iso = format!("{:.0}", self.options.gain * 100.0).parse()?;
        Ok(exposure)
    }

    fn told(&self, what: &str) -> String {
        fs::read_to_string(self.home.join(what)).unwrap_or_default().trim().to_owned()
    }

    fn peek(&self) -> Result<Option<Behaviour>, Failure> {
        self.told("plan").lines().next().map(Behaviour::of).transpose()
    }

    /// The first line of the plan, which is taken away.
    fn next_behaviour(&self) -> Result<Behaviour, Failure> {
        let behaviour = self.peek()?.unwrap_or(Behaviour::Well);
        let rest: Vec<String> = self.told("plan").lines().skip(1).map(str::to_owned).collect();
        fs::write(self.home.join("plan"), rest.join("\n"))?;
        Ok(behaviour)
    }
}

fn exif_of(exposure: &Exposure) -> Result<Vec<u8>, Failure> {
    let time = CaptureTime { at: UnixSeconds(0), source: TimeSource::Unsynced };
    Ok(CaptureDetails { metadata: &exposure.metadata, time }.to_exif(exposure.raw.format().size)?)
}

/// Opens a camera as the real user of a camera program does, and leaves it open.
fn hold_camera(folder: &Path) -> Result<ExitCode, Failure> {
    let program = folder.join("rpicam-still");
    let scratch = folder.to_owned();
    let config = RpicamConfig { program, scratch, ..RpicamConfig::new(FrameSize::new(64, 48)?, 1) };
    let mut camera = Rpicam::open(&config)?;
    camera.expose()?;
    writeln!(io::stdout(), "ready")?;
    io::stdout().flush()?;
    wait_for_ever()
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

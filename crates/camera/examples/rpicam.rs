//! Takes exposures with a Raspberry Pi's camera and says what came, without keeping or sending anything.
//!
//! For: seeing whether `rpicam-still` works here, and what happens to it when this program is killed.
//!
//! ```text
//! cargo run --release -p birthmark-camera --example rpicam -- WIDTHxHEIGHT [PROGRAM]
//! ```
//! Each line feed on standard input takes one exposure; the end of it ends the program.

use std::env;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;

use birthmark_camera::Sensor as _;
use birthmark_camera::sensor::rpicam::{Rpicam, RpicamConfig};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [size, program @ ..] = arguments.as_slice() else { return Err("usage: rpicam WIDTHxHEIGHT [PROGRAM]".into()) };
    let mut config = RpicamConfig::new(size.parse()?, 1);
    if let [program] = program {
        config.program = PathBuf::from(program);
    }
    let mut camera = Rpicam::open(&config)?;
    let mut out = io::stdout();
    for line in io::stdin().lock().lines() {
        line?;
        match camera.expose() {
            Ok(exposure) => writeln!(
                out,
                "{:?}, {:?}, {:?}, raw hash {}",
                exposure.metadata,
                exposure.raw,
                exposure.picture,
                exposure.raw.hash()
            )?,
            Err(error) => writeln!(out, "error: {error}")?,
        }
        out.flush()?;
    }
    Ok(())
}

//! The real program's flags.

use std::path::PathBuf;

use birthmark_camera::raw_frame::FrameSize;

use crate::Failure;

/// The flags that matter; all others of the real program that we use are checked and ignored.
pub(crate) struct Options {
    pub(crate) size: FrameSize,
    pub(crate) output: String,
    pub(crate) metadata: PathBuf,
    /// In microseconds.
    pub(crate) shutter: u64,
    pub(crate) gain: f32,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let (mut mode, mut output, mut metadata) = (None, None, None);
        let (mut shutter, mut gain) = (9994, 1.0);
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--keypress" | "--zsl" | "-n" | "--raw" => {}
                "-t" | "--width" | "--height" | "--denoise" | "--thumb" | "-q" | "--awbgains" => drop(value()?),
                "--mode" => mode = Some(value()?),
                "-o" => output = Some(value()?.clone()),
                "--metadata" => metadata = Some(PathBuf::from(value()?)),
                "--shutter" => shutter = value()?.strip_suffix("us").ok_or("a unit")?.parse()?,
                "--gain" => gain = value()?.parse()?,
                other => return Err(format!("unrecognised option '{other}'").into()),
            }
        }
        let mode: Vec<&str> = mode.ok_or("no --mode")?.split(':').collect();
        let [width, height, "12", "U"] = mode.as_slice() else { return Err("bad --mode".into()) };
        let size = FrameSize::new(width.parse()?, height.parse()?)?;
        let (output, metadata) = (output.ok_or("no -o")?, metadata.ok_or("no --metadata")?);
        Ok(Self { size, output, metadata, shutter, gain })
    }
}

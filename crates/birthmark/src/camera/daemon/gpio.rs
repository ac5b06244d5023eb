//! A shutter button on a GPIO line.
//!
//! For: a button between a line and ground: the line is pulled up, and each press is one photograph. Edges are
//! debounced by the kernel. No hardware has seen this yet.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, Offset};
use tokio::sync::mpsc;

use super::trigger::Trigger;

/// Flags of the button.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct GpioArgs {
    /// Photograph when the button between this line and ground is pressed.
    #[arg(long, value_name = "LINE")]
    gpio: Option<Offset>,
    /// The chip that the line belongs to.
    #[arg(long, default_value = "/dev/gpiochip0", value_name = "DEVICE")]
    gpio_chip: PathBuf,
}

impl GpioArgs {
    /// Watches the button on a thread of its own.
    pub(super) fn watch(&self, asks: &mpsc::Sender<Trigger>) -> anyhow::Result<()> {
        let Some(line) = self.gpio else { return Ok(()) };
        let request = Request::builder()
            .on_chip(&self.gpio_chip)
            .with_consumer("birthmark-camera")
            .with_line(line)
            .as_input()
            .with_bias(Bias::PullUp)
            .as_active_low()
            .with_edge_detection(EdgeDetection::RisingEdge)
            .with_debounce_period(DEBOUNCE)
            .request()
            .with_context(|| format!("cannot watch line {line} of {}", self.gpio_chip.display()))?;
        let asks = asks.clone();
        let watch = move || {
            loop {
                match request.read_edge_event() {
                    // Who presses faster than the camera photographs has pressed in vain.
                    Ok(_) => drop(asks.try_send(Trigger::plain())),
                    Err(error) => return tracing::error!(%error, "the button is no trigger any more"),
                }
                if asks.is_closed() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("trigger-gpio".to_owned()).spawn(watch).context("cannot watch the button")?;
        Ok(())
    }
}

const DEBOUNCE: Duration = Duration::from_millis(20);

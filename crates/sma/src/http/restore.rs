//! `POST /api/v1/devices/{serial}/restore`: a revocation is taken back. No body.
//!
//! Answer: `docs/PROTOCOL.md` section 4.
//! ```text
//! 200 the device's status, also if it was so already
//! 404 unknown_device    422 malformed_serial
//! ```

use axum::Json;
use axum::extract::State;
use birthmark_service::auth::Caller;
use birthmark_service::problem::Problem;

use super::path::Serial;
use super::{ADMIN, control_problem};
use crate::authority::Sma;
use crate::views::DeviceView;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    serial: Result<Serial, Problem>,
) -> Result<Json<DeviceView>, Problem> {
    caller.require(&[ADMIN])?;
    let Serial(serial) = serial?;
    sma.control_by(caller.name()).restore(serial).await.map(Json).map_err(|error| control_problem(&error))
}

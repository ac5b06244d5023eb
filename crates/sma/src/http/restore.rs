//! `POST /api/v1/devices/{serial}/restore`: a revocation is taken back. No body.
//!
//! Answer: `docs/PROTOCOL.md` section 4.
//! ```text
//! 200 the device's status, also if it was so already
//! 404 unknown_device    422 malformed_serial
//! ```

use axum::Json;
use birthmark_service::problem::Problem;

use super::administered::Administered;
use super::control_problem;
use crate::views::DeviceView;

pub(super) async fn handle(Administered { control, serial }: Administered) -> Result<Json<DeviceView>, Problem> {
    control.restore(serial).await.map(Json).map_err(|error| control_problem(&error))
}

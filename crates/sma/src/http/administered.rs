//! Who changes which device: the way into every endpoint of one device.
//!
//! For: the credential first and the serial next, before any body is read. Not for: whether there is such a
//! device (`authority::control`).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use birthmark_core::ids::DeviceSerial;
use birthmark_service::auth::Caller;
use birthmark_service::problem::Problem;

use super::path::Serial;
use super::{ADMIN, AppState};
use crate::authority::control::Control;

/// An administrator, and the device that the path names.
pub(super) struct Administered {
    pub(super) control: Control,
    pub(super) serial: DeviceSerial,
}

impl FromRequestParts<AppState> for Administered {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.require(&[ADMIN])?;
        let Serial(serial) = Serial::from_request_parts(parts, state).await?;
        Ok(Self { control: state.sma.control_by(caller.name()), serial })
    }
}

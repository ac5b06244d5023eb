//! `GET /api/v1/devices/{serial}/tpm`: what a device's TPM showed when the device was provisioned.
//!
//! Answer: `docs/PROTOCOL.md` section 4, `tpm` as it came; it has been checked, as far as that goes.
//! ```text
//! 200 {"endorsement_certificate", "endorsement_key", "attestation_key", "storage_key", "certify_info", "signature"}
//! 404 unknown_device, no_tpm    422 malformed_serial
//! ```

use axum::Json;
use axum::http::StatusCode;
use birthmark_core::api::provision::TpmAttestation;
use birthmark_service::problem::Problem;

use super::administered::Administered;
use super::control_problem;

pub(super) async fn handle(Administered { control, serial }: Administered) -> Result<Json<TpmAttestation>, Problem> {
    let evidence = control.tpm_evidence(serial).await.map_err(|error| control_problem(&error))?;
    let none = || Problem::new(StatusCode::NOT_FOUND, "no_tpm", "the camera was provisioned without a TPM");
    evidence.map(Json).ok_or_else(none)
}

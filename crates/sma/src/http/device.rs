//! `GET /api/v1/devices/{serial}`: a device's status.
//!
//! Answer: `docs/PROTOCOL.md` section 4.
//! ```text
//! 200 {"device_serial", "device_family", "status": "active" | "revoked", "min_token_version": 1 | 2,
//!      "key_generation", "registered": <unix seconds>, "quota": {"warn", "stop"},
//!      "own_quota": {"warn": n | null, "stop": n | null}, "passed_today"}
//! 404 unknown_device    422 malformed_serial
//! ```

use axum::Json;
use birthmark_service::problem::Problem;

use super::administered::Administered;
use super::control_problem;
use crate::views::DeviceView;

pub(super) async fn handle(Administered { control, serial }: Administered) -> Result<Json<DeviceView>, Problem> {
    control.device(serial).await.map(Json).map_err(|error| control_problem(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{self, Authority};

    #[tokio::test]
    async fn status_says_what_an_administrator_needs_and_no_secret() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
        let (status, body) = authority.get_as(None, "/api/v1/devices/PI_CAMERA_001").await;
        assert_eq!(status, 200);
        assert_eq!(
            body,
            json!({"device_serial": "PI_CAMERA_001", "device_family": "Raspberry Pi HQ Camera", "status": "active",
                   "min_token_version": 1, "key_generation": 0, "registered": 1_733_259_600,
                   "quota": {"warn": 8000, "stop": 10000}, "own_quota": {"warn": null, "stop": null},
                   "passed_today": 1})
        );
    }

    #[tokio::test]
    async fn serial_is_percent_decoded_and_checked() {
        let authority = Authority::new();
        let mut request = testing::camera_request(1);
        request.device_serial = birthmark_core::ids::DeviceSerial::new("A/B %41?#..").unwrap();
        authority.camera_with(request).await;
        let (status, body) = authority.get_as(None, "/api/v1/devices/A%2FB%20%2541%3F%23..").await;
        assert_eq!((status, body["device_serial"].as_str()), (200, Some("A/B %41?#..")));
        for (path, status, code) in [
            ("A".to_owned(), 404, "unknown_device"),
            ("A".repeat(65), 422, "malformed_serial"),
            ("A%0A".to_owned(), 422, "malformed_serial"),
            ("%FF".to_owned(), 422, "malformed_serial"),
            ("%C3%9C".to_owned(), 422, "malformed_serial"),
        ] {
            let (got, body) = authority.get_as(None, &format!("/api/v1/devices/{path}")).await;
            assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{path}");
        }
    }

    #[tokio::test]
    async fn only_an_admin_sees_and_changes_devices_keys_and_the_log() {
        let authority = Authority::with_tokens();
        authority.camera(1).await;
        let id = "00".repeat(8);
        let device = "/api/v1/devices/PI_CAMERA_001";
        for (method, path) in [
            ("GET", device.to_owned()),
            ("GET", format!("{device}/tpm")),
            ("POST", format!("{device}/revoke")),
            ("POST", format!("{device}/restore")),
            ("PUT", format!("{device}/quota")),
            ("POST", format!("{device}/reprovision")),
            ("GET", "/api/v1/audit".to_owned()),
            ("POST", "/api/v1/keys/rotate".to_owned()),
            ("POST", format!("/api/v1/keys/{id}/revoke")),
        ] {
            for (caller, expected) in [(None, 401), (Some("aggregator-1"), 403)] {
                let (status, _) = authority.ask(method, caller, &path, &json!({"nuc_hash": ""})).await;
                assert_eq!(status, expected, "{method} {path}");
            }
        }
        assert_eq!(authority.get_as(Some("admin"), device).await.0, 200);
    }
}

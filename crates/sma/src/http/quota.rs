//! `PUT /api/v1/devices/{serial}/quota`: a device's own limits of passes a day.
//!
//! Request and answer: `docs/PROTOCOL.md` section 4. null, or a field that is left out, stands for the
//! general limit; 0 as `stop` lets nothing pass.
//! ```text
//! {"warn": 8000 | null, "stop": 10000 | null}
//! 200 the device's status
//! 404 unknown_device    422 malformed_serial, wrong_field
//! ```

use axum::Json;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;

use super::administered::Administered;
use super::control_problem;
use crate::quota::QuotaOverride;
use crate::views::DeviceView;

const MAX_BODY: usize = 1024;

pub(super) async fn handle(
    Administered { control, serial }: Administered,
    StrictJson(quota): StrictJson<QuotaOverride, MAX_BODY>,
) -> Result<Json<DeviceView>, Problem> {
    control.set_quota(serial, quota).await.map(Json).map_err(|error| control_problem(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Authority;

    const PATH: &str = "/api/v1/devices/PI_CAMERA_001/quota";

    #[tokio::test]
    async fn own_limit_holds_at_once_and_null_takes_it_back() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let (status, body) = authority.ask("PUT", None, PATH, &json!({"stop": 1})).await;
        assert_eq!((status, &body["own_quota"]), (200, &json!({"warn": null, "stop": 1})));
        assert_eq!(body["quota"], json!({"warn": 8000, "stop": 1}));
        assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
        assert_eq!(authority.verdict(&camera.question()).await, "token_invalid");
        let (_, body) = authority.ask("PUT", None, PATH, &json!({"warn": null, "stop": null})).await;
        assert_eq!(body["quota"], json!({"warn": 8000, "stop": 10000}));
        assert_eq!(authority.verdict(&camera.question()).await, "token_valid");
    }

    #[tokio::test]
    async fn wrong_limits_and_unknown_devices_are_refused() {
        let authority = Authority::new();
        authority.camera(1).await;
        for wrong in [
            json!({"stop": -1}),
            json!({"stop": 1.5}),
            json!({"warn": "1"}),
            json!({"stop": 1u64 << 32}),
            json!([]),
            json!({"Stop": 1}),
        ] {
            let (status, body) = authority.ask("PUT", None, PATH, &wrong).await;
            assert_eq!((status, body["code"].as_str()), (422, Some("wrong_field")), "{wrong}");
        }
        let (status, body) = authority.ask("PUT", None, "/api/v1/devices/NOBODY/quota", &json!({})).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("unknown_device")));
    }
}

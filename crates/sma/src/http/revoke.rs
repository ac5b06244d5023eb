//! `POST /api/v1/devices/{serial}/revoke`: the device is revoked, at once. No body.
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
    control.revoke(serial).await.map(Json).map_err(|error| control_problem(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Authority;

    const REVOKE: &str = "/api/v1/devices/PI_CAMERA_001/revoke";
    const RESTORE: &str = "/api/v1/devices/PI_CAMERA_001/restore";

    /// Of both versions: new tokens, and the repeat of one that has passed.
    #[tokio::test]
    async fn revocation_and_restoration_hold_from_their_answer_on() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let key_id = authority.current_key().await;
        let bound = camera.bound_question(key_id, 1);
        let first = authority.answer(&bound).await;
        assert_eq!(
            (first["message"].as_str(), authority.verdict(&camera.question()).await.as_str()),
            (Some("token_valid"), "token_valid")
        );
        assert!(first["endorsement"].is_string());
        assert_eq!(authority.answer(&bound).await, first, "a repeat is signed again");

        let (status, body) = authority.post(REVOKE, &Value::Null).await;
        assert_eq!((status, body["status"].as_str()), (200, Some("revoked")));
        for question in [&bound, &camera.bound_question(key_id, 2), &camera.question()] {
            assert_eq!(authority.answer(question).await, json!({"valid": false, "message": "token_invalid"}));
        }

        let (status, body) = authority.post(RESTORE, &Value::Null).await;
        assert_eq!((status, body["status"].as_str()), (200, Some("active")));
        assert_eq!(authority.answer(&bound).await, first);
        for question in [&camera.bound_question(key_id, 3), &camera.question()] {
            assert_eq!(authority.answer(question).await["message"], "token_valid");
        }
    }

    #[tokio::test]
    async fn revoking_twice_is_one_act_and_an_unknown_device_none() {
        let authority = Authority::with_tokens();
        authority.camera(1).await;
        for _ in 0..2 {
            assert_eq!(authority.post_as(Some("admin"), REVOKE, &Value::Null).await.0, 200);
        }
        let unknown = authority.post_as(Some("admin"), "/api/v1/devices/NOBODY/revoke", &Value::Null).await;
        assert_eq!((unknown.0, unknown.1["code"].as_str()), (404, Some("unknown_device")));
        let unknown = authority.post_as(Some("admin"), "/api/v1/devices/NOBODY/restore", &Value::Null).await;
        assert_eq!((unknown.0, unknown.1["code"].as_str()), (404, Some("unknown_device")));
        let (_, log) = authority.get_as(Some("admin"), "/api/v1/audit").await;
        let acts: Vec<_> = log["rows"].as_array().unwrap().iter().map(|row| (&row["act"], &row["actor"])).collect();
        assert_eq!(acts.iter().filter(|(act, _)| *act == "device.revoke").count(), 1);
        assert_eq!(acts.last().unwrap(), &(&json!("device.revoke"), &json!("admin")));
    }

    #[tokio::test]
    async fn closed_database_is_an_error_and_nothing_else() {
        let authority = Authority::new();
        authority.sma.close().await;
        let (status, body) = authority.post(REVOKE, &Value::Null).await;
        assert_eq!((status, body["code"].as_str()), (500, Some("internal")));
    }
}

//! `POST /api/v1/devices/{serial}/reprovision`: a camera gets new secrets, and its old ones become worthless.
//!
//! Request and answer: `docs/PROTOCOL.md` section 4. Serial and family stay; so does the version if it is
//! left out.
//! ```text
//! {"nuc_hash": "<64 hex>", "min_token_version": 1 | 2}
//! 201 device_config.json, handed out once
//! 404 unknown_device    409 device_revoked, other_nuc_hash
//! 422 malformed_serial, malformed_nuc_hash, unknown_token_version, wrong_field
//! ```

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;

use super::administered::Administered;
use super::{provision, unknown_device};
use crate::authority::control::{ReprovisionError, ReprovisionRequest};

const MAX_BODY: usize = 4 * 1024;

pub(super) async fn handle(
    Administered { control, serial }: Administered,
    StrictJson(request): StrictJson<ReprovisionRequest, MAX_BODY>,
) -> Result<Response, Problem> {
    let config = control.reprovision(serial, request).await.map_err(|error| problem(&error))?;
    let secret = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, secret, Json(config)).into_response())
}

fn problem(error: &ReprovisionError) -> Problem {
    match error {
        ReprovisionError::Unknown => unknown_device(),
        ReprovisionError::Revoked => {
            Problem::new(StatusCode::CONFLICT, "device_revoked", "the camera is revoked; restore it first")
        }
        ReprovisionError::OtherSensor => {
            Problem::new(StatusCode::CONFLICT, "other_nuc_hash", "the camera was registered with another nuc_hash")
        }
        ReprovisionError::Provision(error) => provision::problem(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{self, Authority};

    const PATH: &str = "/api/v1/devices/PI_CAMERA_001/reprovision";

    #[tokio::test]
    async fn new_secrets_pass_and_the_old_ones_do_not() {
        let authority = Authority::new();
        let old = authority.camera(1).await;
        let key_id = authority.current_key().await;
        let body = json!({"nuc_hash": testing::nuc_hex(1), "min_token_version": 2});
        let response = authority.respond(None, PATH, body.to_string().into()).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["cache-control"]),
            (201, &"no-store".parse().unwrap())
        );
        let config = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let new = old.with(serde_json::from_slice(&config).unwrap());
        assert_eq!(new.config.device_serial, old.config.device_serial);
        assert_eq!(authority.answer(&new.bound_question(key_id, 1)).await["message"], "token_valid");
        assert_eq!(authority.answer(&old.bound_question(key_id, 2)).await["message"], "token_invalid");
        assert_eq!(authority.verdict(&new.question()).await, "token_invalid", "version 1 is over");
        let (_, status) = authority.get_as(None, "/api/v1/devices/PI_CAMERA_001").await;
        assert_eq!((&status["key_generation"], &status["min_token_version"]), (&json!(1), &json!(2)));
    }

    #[tokio::test]
    async fn version_stays_where_none_is_given() {
        let authority = Authority::new();
        let mut request = testing::camera_request(1);
        request.min_token_version = 2;
        authority.camera_with(request).await;
        assert_eq!(authority.post(PATH, &json!({"nuc_hash": testing::nuc_hex(1)})).await.0, 201);
        let (_, status) = authority.get_as(None, "/api/v1/devices/PI_CAMERA_001").await;
        assert_eq!(status["min_token_version"], 2);
    }

    #[tokio::test]
    async fn others_sensors_revoked_and_unknown_devices_get_nothing() {
        let authority = Authority::new();
        authority.camera(1).await;
        let good = json!({"nuc_hash": testing::nuc_hex(1)});
        let ask = async |path: &str, body: &Value| {
            let (status, body) = authority.post(path, body).await;
            (status, body["code"].as_str().unwrap().to_owned())
        };
        let is = |status: u16, code: &str| (status, code.to_owned());
        assert_eq!(ask("/api/v1/devices/NOBODY/reprovision", &good).await, is(404, "unknown_device"));
        assert_eq!(ask(PATH, &json!({"nuc_hash": testing::nuc_hex(2)})).await, is(409, "other_nuc_hash"));
        assert_eq!(ask(PATH, &json!({"nuc_hash": "zz"})).await, is(422, "malformed_nuc_hash"));
        assert_eq!(ask(PATH, &json!({})).await, is(422, "wrong_field"));
        let third = json!({"nuc_hash": testing::nuc_hex(1), "min_token_version": 3});
        assert_eq!(ask(PATH, &third).await, is(422, "unknown_token_version"));
        authority.post("/api/v1/devices/PI_CAMERA_001/revoke", &Value::Null).await;
        assert_eq!(ask(PATH, &good).await, is(409, "device_revoked"));
        let (_, status) = authority.get_as(None, "/api/v1/devices/PI_CAMERA_001").await;
        assert_eq!(status["key_generation"], 0);
    }
}

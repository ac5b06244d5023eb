//! `POST /api/v1/keys/{key_id}/revoke`: an endorsement key is taken out of use, at once and for ever. No body.
//!
//! Answer: `docs/PROTOCOL.md` section 4. After the current key there is none until the next rotation.
//! ```text
//! 200 {"key_id": "<16 hex>", "authority": <as GET /authority.json>}
//! 404 unknown_key    409 key_revoked, keys_changed    422 malformed_key_id
//! ```

use axum::Json;
use axum::extract::State;
use birthmark_service::auth::Caller;
use birthmark_service::problem::Problem;

use super::path::KeyId;
use super::{ADMIN, key_problem};
use crate::authority::Sma;
use crate::views::KeyChangeView;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    key_id: Result<KeyId, Problem>,
) -> Result<Json<KeyChangeView>, Problem> {
    caller.require(&[ADMIN])?;
    let KeyId(key_id) = key_id?;
    sma.control_by(caller.name()).revoke_key(key_id).await.map(Json).map_err(|error| key_problem(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Authority;

    #[tokio::test]
    async fn revoked_key_signs_nothing_any_more_and_never_again() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let key_id = authority.current_key().await;
        let asked = camera.bound_question(key_id, 1);
        assert_eq!(authority.answer(&asked).await["message"], "token_valid");
        let path = format!("/api/v1/keys/{key_id}/revoke");
        let (status, body) = authority.post(&path, &Value::Null).await;
        assert_eq!((status, &body["authority"]["endorsement_keys"][0]["state"]), (200, &json!("revoked")));
        for question in [&asked, &camera.bound_question(key_id, 2)] {
            let answer = authority.answer(question).await;
            assert_eq!((answer["message"].as_str(), answer.get("endorsement")), (Some("rekey"), None));
        }
        let (status, body) = authority.post(&path, &Value::Null).await;
        assert_eq!((status, body["code"].as_str()), (409, Some("key_revoked")));
        assert_eq!(authority.post("/api/v1/keys/rotate", &json!({})).await.0, 201);
        let next = authority.current_key().await;
        assert_eq!(authority.answer(&camera.bound_question(next, 3)).await["message"], "token_valid");
    }

    #[tokio::test]
    async fn other_ids_are_refused() {
        let authority = Authority::new();
        for (id, status, code) in [
            ("00".repeat(8), 404, "unknown_key"),
            ("00".repeat(7), 422, "malformed_key_id"),
            ("zz".repeat(8), 422, "malformed_key_id"),
        ] {
            let (got, body) = authority.post(&format!("/api/v1/keys/{id}/revoke"), &Value::Null).await;
            assert_eq!((got, body["code"].as_str()), (status, Some(code)));
        }
    }
}

//! `POST /api/v1/keys/rotate`: a new endorsement key becomes the current one.
//!
//! Request and answer: `docs/PROTOCOL.md` section 4. The key before signs for 90 more days. Nobody knows the
//! new key before it is in the network file (`birthmark network update`).
//! ```text
//! {"bits": 2048 | 3072 | 4096}      2048 where it is left out
//! 201 {"key_id": "<16 hex>", "authority": <as GET /authority.json>}
//! 409 too_many_keys, keys_changed    422 wrong_key_size, wrong_field
//! ```

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use birthmark_service::auth::Caller;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;
use serde::Deserialize;

use super::{ADMIN, key_problem};
use crate::authority::Sma;
use crate::endorsement_keys::{KeySize, KeySizeError};
use crate::views::KeyChangeView;

#[derive(Debug, Deserialize)]
pub(super) struct Request {
    bits: Option<u32>,
}

const MAX_BODY: usize = 1024;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    request: Result<StrictJson<Request, MAX_BODY>, Problem>,
) -> Result<(StatusCode, Json<KeyChangeView>), Problem> {
    caller.require(&[ADMIN])?;
    let StrictJson(request) = request?;
    let size = request.bits.map_or(Ok(KeySize::default()), KeySize::try_from).map_err(|KeySizeError| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "wrong_key_size",
            "an endorsement key has 2048, 3072 or 4096 bits",
        )
    })?;
    let view = sma.control_by(caller.name()).rotate_key(size).await.map_err(|error| key_problem(&error))?;
    Ok((StatusCode::CREATED, Json(view)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Authority;

    const PATH: &str = "/api/v1/keys/rotate";

    #[tokio::test]
    async fn both_keys_sign_and_everybody_is_told_the_new_one() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let old = authority.current_key().await;
        let (status, body) = authority.post(PATH, &json!({})).await;
        assert_eq!(status, 201, "{body}");
        let new = authority.current_key().await;
        assert_eq!(body["key_id"], json!(new.to_string()));
        assert_ne!(new, old);
        let listed = |statement: &Value| -> Vec<Value> {
            statement["endorsement_keys"].as_array().unwrap().iter().map(|key| key["state"].clone()).collect()
        };
        let file = std::fs::read(authority.folder.path().join("authority.json")).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        assert_eq!(file, body["authority"]);
        assert_eq!(file, authority.get_as(None, "/authority.json").await.1);
        assert_eq!(listed(&file), ["previous", "current"]);
        for (key_id, counter) in [(old, 1), (new, 2)] {
            assert_eq!(authority.answer(&camera.bound_question(key_id, counter)).await["message"], "token_valid");
        }
    }

    #[tokio::test]
    async fn size_can_be_chosen_of_three() {
        let authority = Authority::new();
        let before = authority.current_key().await;
        for bits in [json!(0), json!(1024), json!(2049), json!(8192)] {
            let (status, body) = authority.post(PATH, &json!({"bits": bits})).await;
            assert_eq!((status, body["code"].as_str()), (422, Some("wrong_key_size")), "{bits}");
        }
        let (status, body) = authority.post(PATH, &json!({"bits": "2048"})).await;
        assert_eq!((status, body["code"].as_str()), (422, Some("wrong_field")));
        assert_eq!(authority.current_key().await, before);
        let (status, body) = authority.post(PATH, &json!({"bits": 3072})).await;
        assert_eq!(status, 201);
        let spki = body["authority"]["endorsement_keys"][1]["spki"].as_str().unwrap();
        let spki = birthmark_core::base64::decode_bounded(spki, 600).unwrap();
        assert_eq!(birthmark_core::endorsement::PublicKey::from_spki(&spki).unwrap().modulus_len(), 384);
    }
}

//! `POST /validate/batch`: up to 256 tokens in one transaction.
//!
//! Request and answer: `docs/PROTOCOL.md` section 3. Results stand in the requests' order.
//! ```text
//! {"requests": [{"camera_token": {…}, …}, …]}
//! 200 {"results": [{"valid": true, "message": "token_valid"}, …]}
//! 422 batch_too_long, wrong_field; all else as `POST /validate`
//! ```
//! A malformed token spoils only its own place, with the code as its message: `malformed_token` or
//! `wrong_authority`, which `POST /validate` answers with `422`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use birthmark_core::api::validate::{BatchAnswer, BatchRequest, MAX_QUESTIONS, ValidateAnswer};
use birthmark_service::auth::Caller;
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;

use super::validate::question;
use super::{AGGREGATOR, endorse_problem};
use crate::authority::Sma;

/// 256 requests of 2 KiB.
const MAX_BODY: usize = MAX_QUESTIONS * 2 * 1024;

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    StrictJson(batch): StrictJson<BatchRequest, MAX_BODY>,
) -> Result<Json<BatchAnswer>, Problem> {
    caller.require(&[AGGREGATOR])?;
    if batch.requests.len() > MAX_QUESTIONS {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "batch_too_long",
            "a batch has at most 256 requests",
        ));
    }
    let mut questions = Vec::with_capacity(batch.requests.len());
    let mut malformed = Vec::with_capacity(batch.requests.len());
    for request in &batch.requests {
        match question(&sma, request) {
            Ok(question) => {
                questions.push(question);
                malformed.push(None);
            }
            Err(error) => malformed.push(Some(error.code())),
        }
    }
    let answers = sma.answer(caller.name(), &questions).await.map_err(|error| endorse_problem(&error))?;
    let mut answers = answers.into_iter();
    let results = malformed
        .into_iter()
        .map(|code| match code {
            Some(code) => Some(ValidateAnswer { valid: false, message: code.to_owned(), endorsement: None }),
            None => answers.next(),
        })
        .collect::<Option<_>>()
        // One answer for each question; a missing one must not shift the others.
        .ok_or_else(Problem::internal)?;
    Ok(Json(BatchAnswer { results }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Authority;

    fn messages(body: &Value) -> Vec<&str> {
        body["results"].as_array().unwrap().iter().map(|result| result["message"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn each_place_gets_its_own_verdict() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let (good, other) = (camera.question(), camera.question());
        let mut malformed = camera.question();
        malformed["camera_token"]["nonce"] = json!("00");
        let mut elsewhere = camera.question();
        elsewhere["manufacturer_authority_id"] = json!("ANOTHER");
        let mut forged = camera.question();
        forged["camera_token"]["auth_tag"] = json!("00".repeat(16));
        let requests = json!({"requests": [good, malformed, forged, good, elsewhere, other]});
        let (status, body) = authority.post("/validate/batch", &requests).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(
            messages(&body),
            ["token_valid", "malformed_token", "token_invalid", "token_used", "wrong_authority", "token_valid"]
        );
        for result in body["results"].as_array().unwrap() {
            assert_eq!(result["valid"], json!(result["message"] == "token_valid"));
        }
    }

    #[tokio::test]
    async fn a_batch_and_a_single_request_see_each_others_uses() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let mut question = camera.question();
        question["request_id"] = json!("0a".repeat(16));
        assert_eq!(authority.verdict(&question).await, "token_valid");
        let mut stolen = question.clone();
        stolen["request_id"] = json!("0b".repeat(16));
        let (_, body) = authority.post("/validate/batch", &json!({"requests": [stolen, question]})).await;
        assert_eq!(messages(&body), ["token_used", "token_valid"]);
    }

    #[tokio::test]
    async fn length_is_bounded_and_none_is_enough() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let many = |n| json!({"requests": (0..n).map(|_| camera.question()).collect::<Vec<_>>()});
        let (status, body) = authority.post("/validate/batch", &many(256)).await;
        assert_eq!((status, messages(&body).len()), (200, 256));
        assert!(messages(&body).iter().all(|message| *message == "token_valid"));
        let (status, body) = authority.post("/validate/batch", &many(257)).await;
        assert_eq!((status, body["code"].as_str()), (422, Some("batch_too_long")));
        let (status, body) = authority.post("/validate/batch", &many(0)).await;
        assert_eq!((status, messages(&body).len()), (200, 0));
    }

    #[tokio::test]
    async fn only_an_aggregator_may_ask() {
        let authority = Authority::with_tokens();
        let none = json!({"requests": []});
        assert_eq!(authority.post_as(Some("admin"), "/validate/batch", &none).await.0, 403);
        assert_eq!(authority.post_as(None, "/validate/batch", &none).await.0, 401);
        assert_eq!(authority.post_as(Some("aggregator-1"), "/validate/batch", &none).await.0, 200);
    }
}

//! The references: read the question, do its token's cryptography, answer. No registry, no memory.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use birthmark_core::api::validate::{BatchAnswer, BatchRequest, Message, ValidateAnswer, ValidateRequest};
use birthmark_core::hex;
use birthmark_core::keytable::TableKey;
use birthmark_core::token::v2::{DeviceKey, Opener};
use birthmark_core::token::{Blinding, v1};
use serde::Serialize;

use super::cameras::Cameras;

/// Table keys as an authority has them at hand, all of them that cameras use here.
#[derive(Debug)]
struct Tables(Vec<Option<TableKey>>);

impl Tables {
    fn of(cameras: &Cameras) -> Self {
        let mut tables = vec![None; 2500];
        for camera in &cameras.known {
            let (id, key) = &camera.table;
            if let Some(place) = tables.get_mut(usize::from(id.value())) {
                *place = Some(key.clone());
            }
        }
        Self(tables)
    }

    fn get(&self, id: u16) -> Option<&TableKey> {
        self.0.get(usize::from(id))?.as_ref()
    }
}

/// HKDF and AES-GCM.
pub(in crate::bench) fn version_1(cameras: &Cameras) -> Router {
    let tables = Tables::of(cameras);
    router(move |question| {
        let token = question.camera_token.parse_sealed(None).ok()?;
        Some(answer(tables.get(token.table_id.value()).is_some_and(|key| v1::open(&token, key).is_ok()), None))
    })
}

/// HPKE and the MAC, whose cost is the same with any device's key; the signature is left out on both sides.
pub(in crate::bench) fn version_2(cameras: &Cameras, opener: Opener) -> Router {
    let (tables, device_key) = (Tables::of(cameras), DeviceKey::from_bytes([1; 32]));
    router(move |question| {
        let token = question.camera_token.parse_sealed(None).ok()?;
        let blinding = Blinding::parse(
            question.enc.as_deref()?,
            question.key_id.as_deref()?,
            question.blinded_message.as_deref()?,
        );
        let blinding = blinding.ok()?;
        let genuine = tables.get(token.table_id.value()).and_then(|key| {
            let inside = opener.open(&token, &blinding.enc, &blinding.commitment(), key).ok()?;
            Some(inside.is_from(&device_key))
        });
        Some(answer(genuine.is_some(), Some(hex::encode(&blinding.blinded_message))))
    })
}

/// Both shapes of a question, each answered at once.
fn router(validate: impl Fn(&ValidateRequest) -> Option<ValidateAnswer> + Send + Sync + 'static) -> Router {
    let validate = Arc::new(validate);
    let for_batches = Arc::clone(&validate);
    let single = async move |Json(question): Json<ValidateRequest>| validate(&question).map_or_else(refuse, ok);
    let batch = async move |Json(batch): Json<BatchRequest>| {
        let results = batch.requests.iter().map(|question| for_batches(question)).collect::<Option<_>>();
        results.map_or_else(refuse, |results| ok(BatchAnswer { results }))
    };
    Router::new().route("/validate", post(single)).route("/validate/batch", post(batch))
}

fn ok(answer: impl Serialize) -> Response {
    Json(answer).into_response()
}

fn answer(valid: bool, endorsement: Option<String>) -> ValidateAnswer {
    let message = if valid { Message::Valid } else { Message::Invalid };
    ValidateAnswer { valid, message: message.text().to_owned(), endorsement }
}

fn refuse() -> Response {
    StatusCode::UNPROCESSABLE_ENTITY.into_response()
}

//! The references: read the question, do its token's cryptography, answer. No registry, no memory.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use birthmark_core::api::validate::{Message, ValidateAnswer, ValidateRequest};
use birthmark_core::hex;
use birthmark_core::keytable::TableKey;
use birthmark_core::token::v2::{DeviceKey, Opener};
use birthmark_core::token::{Blinding, v1};

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
pub(super) fn version_1(cameras: &Cameras) -> Router {
    async fn handle(State(tables): State<Arc<Tables>>, Json(question): Json<ValidateRequest>) -> Response {
        let Ok(token) = question.camera_token.parse_sealed(None) else { return refuse() };
        let opened = tables.get(token.table_id.value()).and_then(|key| v1::open(&token, key).ok());
        answer(opened.is_some(), None)
    }
    Router::new().route("/validate", post(handle)).with_state(Arc::new(Tables::of(cameras)))
}

#[derive(Debug)]
struct Version2 {
    tables: Tables,
    opener: Opener,
    /// The MAC costs the same with any.
    device_key: DeviceKey,
}

/// HPKE and the MAC; the signature is left out on both sides.
pub(super) fn version_2(cameras: &Cameras, opener: Opener) -> Router {
    async fn handle(State(state): State<Arc<Version2>>, Json(question): Json<ValidateRequest>) -> Response {
        let ValidateRequest { camera_token, enc, key_id, blinded_message, .. } = question;
        let Ok(token) = camera_token.parse_sealed(None) else { return refuse() };
        let (Some(enc), Some(key_id), Some(message)) = (enc, key_id, blinded_message) else { return refuse() };
        let Ok(blinding) = Blinding::parse(&enc, &key_id, &message) else { return refuse() };
        let opened = state.tables.get(token.table_id.value()).and_then(|key| {
            let opened = state.opener.open(&token, &blinding.enc, &blinding.commitment(), key).ok()?;
            Some(opened.is_from(&state.device_key))
        });
        answer(opened.is_some(), Some(hex::encode(&blinding.blinded_message)))
    }
    let device_key = DeviceKey::from_bytes([1; 32]);
    let state = Version2 { tables: Tables::of(cameras), opener, device_key };
    Router::new().route("/validate", post(handle)).with_state(Arc::new(state))
}

fn answer(valid: bool, endorsement: Option<String>) -> Response {
    let message = if valid { Message::Valid } else { Message::Invalid };
    Json(ValidateAnswer { valid, message: message.text().to_owned(), endorsement }).into_response()
}

fn refuse() -> Response {
    StatusCode::UNPROCESSABLE_ENTITY.into_response()
}

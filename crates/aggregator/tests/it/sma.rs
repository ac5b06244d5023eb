//! An authority that speaks the real wire format. Tables stand for verdicts: see [`verdict`]. Version 2
//! tokens are really opened, and what passes is really signed, unless it is told otherwise.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use birthmark_core::api::validate::{BatchRequest, Message, ValidateAnswer, ValidateRequest};
use birthmark_core::ids::NetworkId;
use birthmark_core::keytable::TableKey;
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::token::Blinding;
use birthmark_core::token::v2::{DeviceKey, Opener, TokenSecretKey};
use birthmark_core::{hex, json};
use birthmark_service::problem::Problem;
use blind_rsa_signatures::SecretKeySha384PSSDeterministic;

use crate::script::{Act, Script, cut, misbehave};
use crate::world::AUTHORITY;

pub(crate) const GOOD: u64 = 0;
pub(crate) const BAD: u64 = 1;
pub(crate) const USED: u64 = 2;
/// Asked about alone, `422`; within a batch, a verdict.
pub(crate) const MALFORMED: u64 = 3;
/// The whole batch is refused with `422` for it; asked about alone it gets the same.
pub(crate) const SPOILER: u64 = 4;

pub(crate) const STALE: u64 = 6;
pub(crate) const REKEY: u64 = 7;

/// Every call with it fails with `500`, as a fault in the authority would have it.
pub(crate) const CRASHER: u64 = 5;

#[derive(Debug)]
pub(crate) struct Sma {
    pub(crate) script: Script,
    /// Every request id in the order of arrival, repeats included.
    asked: Mutex<Vec<String>>,
    /// Tokens of each call.
    sizes: Mutex<Vec<usize>>,
    /// Whose tokens it judges.
    name: Mutex<String>,
    /// Everything that it was sent, heads included.
    traffic: Mutex<Vec<u8>>,
    opener: Opener,
    keys: [(EndorsementKeyId, &'static SecretKeySha384PSSDeterministic); 2],
    signing: Mutex<VecDeque<Signing>>,
    then_signing: Mutex<Signing>,
}

/// How it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signing {
    Right,
    /// Not at all.
    Missing,
    /// Another message.
    Wrong,
    /// With another of its keys.
    WrongKey,
    /// As bytes that are too many.
    TooLong,
    /// Not in hex.
    NotHex,
}

/// To which version 2 tokens are sealed.
pub(crate) fn token_secret() -> TokenSecretKey {
    TokenSecretKey::from_seed(&[4; 32])
}

pub(crate) fn table_key(table: u64) -> TableKey {
    TableKey::from_bytes([u8::try_from(table).unwrap(); 32])
}

/// Of the one device that there is.
pub(crate) fn device_key() -> DeviceKey {
    DeviceKey::from_bytes([6; 32])
}

/// Key 1 or 2 of `vectors/keys`.
pub(crate) fn signing_key(number: u8) -> &'static SecretKeySha384PSSDeterministic {
    // Reading one takes longer than all that is done with it.
    static KEYS: LazyLock<[SecretKeySha384PSSDeterministic; 2]> = LazyLock::new(|| {
        [
            include_str!("../../../../vectors/keys/endorsement-1.pem"),
            include_str!("../../../../vectors/keys/endorsement-2.pem"),
        ]
        .map(|pem| SecretKeySha384PSSDeterministic::from_pem(pem).unwrap())
    });
    &KEYS[usize::from(number) - 1]
}

impl Sma {
    pub(crate) fn new(network: NetworkId) -> Arc<Self> {
        let keys = [1, 2].map(signing_key).map(|key| {
            let spki = key.public_key().unwrap().to_der().unwrap();
            (EndorsementKeyId::of_spki(&spki), key)
        });
        Arc::new(Self {
            script: Script::new(),
            asked: Mutex::default(),
            sizes: Mutex::default(),
            name: Mutex::new(AUTHORITY.to_owned()),
            traffic: Mutex::default(),
            opener: Opener::new(network, &token_secret()),
            keys,
            signing: Mutex::default(),
            then_signing: Mutex::new(Signing::Right),
        })
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/validate", post(single))
            .route("/validate/batch", post(batch))
            .with_state(Arc::clone(self))
    }

    /// Answers as this authority from now on.
    pub(crate) fn rename(&self, name: &str) {
        name.clone_into(&mut self.name.lock().unwrap());
    }

    /// Request ids in the order of arrival, repeats included.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Tokens of each call.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }

    /// Everything that it was sent.
    pub(crate) fn traffic(&self) -> Vec<u8> {
        self.traffic.lock().unwrap().clone()
    }

    /// Signs in these ways, one a token, and then in the standing one.
    pub(crate) fn sign_first(&self, ways: &[Signing]) {
        self.signing.lock().unwrap().extend(ways);
    }

    /// The standing way.
    pub(crate) fn sign_always(&self, way: Signing) {
        *self.then_signing.lock().unwrap() = way;
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, request: Request) -> T {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let mut traffic = self.traffic.lock().unwrap();
        traffic.extend(format!("{head:?}").into_bytes());
        traffic.extend(&body);
        json::from_slice(&body).unwrap()
    }

    fn judge(&self, request: &ValidateRequest) -> ValidateAnswer {
        assert_eq!(request.manufacturer_authority_id, AUTHORITY);
        if *self.name.lock().unwrap() != AUTHORITY {
            return plain(false, "wrong_authority");
        }
        let id = request.request_id.clone().expect("the aggregator always sends a request id");
        assert_eq!(id.len(), 32);
        self.asked.lock().unwrap().push(id);
        let answer = verdict(request);
        match &request.blinded_message {
            Some(_) if answer.valid => self.endorse(request),
            _ => answer,
        }
    }

    fn endorse(&self, request: &ValidateRequest) -> ValidateAnswer {
        let part = |field: &Option<String>| field.clone().expect("all three or none");
        let (enc, key_id) = (part(&request.enc), part(&request.key_id));
        let blinding = Blinding::parse(&enc, &key_id, &part(&request.blinded_message)).unwrap();
        let token = request.camera_token.parse_sealed(None).unwrap();
        let opened = self.opener.open(&token, &blinding.enc, &blinding.commitment(), &table_key(table(request)));
        if !opened.is_ok_and(|opened| opened.is_from(&device_key())) {
            return plain(false, Message::Invalid.text());
        }
        let Some(at) = self.keys.iter().position(|(id, _)| *id == blinding.key_id) else {
            return plain(false, Message::Rekey.text());
        };
        let sign = |at: usize, message: &[u8]| self.keys[at].1.blind_sign(message).unwrap().0;
        let way = self.signing.lock().unwrap().pop_front().unwrap_or(*self.then_signing.lock().unwrap());
        let message = blinding.blinded_message.as_slice();
        let mut other = message.to_vec();
        other[255] ^= 1;
        // Below the other key's modulus too.
        let small = [&[0], &message[1..]].concat();
        let endorsement = match way {
            Signing::Right => Some(hex::encode(sign(at, message))),
            Signing::Missing => None,
            Signing::Wrong => Some(hex::encode(sign(at, &other))),
            Signing::WrongKey => Some(hex::encode(sign(1 - at, &small))),
            Signing::TooLong => Some("00".repeat(513)),
            Signing::NotHex => Some("signed!!".to_owned()),
        };
        ValidateAnswer { endorsement, ..plain(true, Message::Valid.text()) }
    }
}

fn plain(valid: bool, message: &str) -> ValidateAnswer {
    ValidateAnswer { valid, message: message.to_owned(), endorsement: None }
}

fn table(request: &ValidateRequest) -> u64 {
    request.camera_token.table_id.unwrap()
}

fn verdict(request: &ValidateRequest) -> ValidateAnswer {
    match table(request) {
        BAD => plain(false, Message::Invalid.text()),
        USED => plain(false, Message::Used.text()),
        STALE => plain(false, Message::Stale.text()),
        REKEY => plain(false, Message::Rekey.text()),
        MALFORMED | SPOILER => plain(false, "malformed_token"),
        _ => plain(true, Message::Valid.text()),
    }
}

async fn single(State(sma): State<Arc<Sma>>, request: Request) -> Response {
    let act = sma.script.next().await;
    if !matches!(act, Act::Serve | Act::ServeAndCut) {
        return misbehave(act).await;
    }
    let request: ValidateRequest = sma.read(request).await;
    sma.sizes.lock().unwrap().push(1);
    if table(&request) == CRASHER {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let verdict = sma.judge(&request);
    if act == Act::ServeAndCut {
        return cut();
    }
    if verdict.message == "wrong_authority" {
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_authority", "another's token").into_response();
    }
    if [MALFORMED, SPOILER].contains(&table(&request)) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    Json(verdict).into_response()
}

async fn batch(State(sma): State<Arc<Sma>>, request: Request) -> Response {
    let act = sma.script.next().await;
    if !matches!(act, Act::Serve | Act::ServeAndCut) {
        return misbehave(act).await;
    }
    let BatchRequest { requests } = sma.read(request).await;
    assert!((1..=256).contains(&requests.len()));
    sma.sizes.lock().unwrap().push(requests.len());
    if requests.iter().any(|request| table(request) == CRASHER) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if requests.iter().any(|request| table(request) == SPOILER) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let results: Vec<_> = requests.iter().map(|request| sma.judge(request)).collect();
    if act == Act::ServeAndCut {
        return cut();
    }
    Json(serde_json::json!({ "results": results })).into_response()
}

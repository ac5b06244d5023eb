//! The attack table: what somebody may try with tokens, and what the authority answers, over HTTP.
//!
//! For: attacks from outside, with real tokens, keys and signatures; what they must not get, and that all
//! who fail hear the same. Not for: the rules one by one (`rules`), or each store's part (`store`).

mod concurrent;
mod counters;
mod forged;
mod linkage;
mod refused;

use axum::body::to_bytes;
use axum::response::Response;
use birthmark_core::endorsement::{Blinded, CaptureDigest, Endorsement, PublicKey};
use birthmark_core::ids::{KeyIndex, NetworkId, TableId};
use birthmark_core::keytable::TableKey;
use birthmark_core::network::{EndorsementKeyState, TokenKey};
use birthmark_core::token::v2::{DeviceKey, Seal};
use birthmark_core::token::{Blinding, NucHash, SealedToken, TokenJson};
use birthmark_core::{base64, hex};
use birthmark_service::random::OsRng;
use serde_json::{Value, json};

use crate::testing::{self, AUTHORITY, Authority, Camera, question};
use crate::{Sma, SmaConfig};

/// An authority and what the network file says of it.
struct Scene {
    authority: Authority,
    public: Public,
}

/// What everybody knows.
struct Public {
    key: PublicKey,
    token_key: TokenKey,
    network: NetworkId,
}

/// A capture of its own, blinded for a key.
struct Photo {
    digest: CaptureDigest,
    blinded: Blinded,
}

/// A version 2 token with what goes to the authority beside it.
#[derive(Clone)]
struct Bound {
    token: SealedToken,
    blinding: Blinding,
}

/// All that a caller gets to see.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Scene {
    async fn new() -> Self {
        Self::configured(testing::config()).await
    }

    async fn configured(config: SmaConfig) -> Self {
        let authority = Authority::configured(config);
        let public = Public::of(&authority.sma).await;
        Self { authority, public }
    }

    async fn hear(&self, question: &Value) -> Heard {
        Heard::of(self.authority.respond(None, "/validate", question.to_string().into()).await).await
    }

    /// Fails unless this is answered as every worthless token is, to the byte.
    async fn expect_invalid(&self, question: &Value, what: &str) {
        assert_eq!(self.hear(question).await, Heard::invalid(), "{what}");
    }

    async fn expect_malformed(&self, question: &Value, what: &str) {
        let (status, problem) = self.authority.post("/validate", question).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("malformed_token")), "{what}");
        assert_eq!((problem.get("valid"), problem.get("endorsement")), (None, None), "{what}");
    }

    async fn expect_message(&self, question: &Value, message: &str) {
        let heard = self.hear(question).await;
        let body = format!(r#"{{"valid":false,"message":"{message}"}}"#);
        assert_eq!((heard.status, heard.body), (200, body));
    }

    /// The photo's endorsement, checked.
    async fn expect_endorsed(&self, bound: &Bound, photo: &Photo) -> Endorsement {
        let blind_signature = self.hear(&bound.question()).await.blind_signature();
        photo.finish(&self.public.key, &blind_signature)
    }

    /// A camera's honest token for a photo.
    fn seal(&self, camera: &Camera, photo: &Photo, counter: u64) -> Bound {
        self.public.seal(camera, photo, counter)
    }

    fn photo(&self, number: u8) -> Photo {
        Photo::new(&self.public.key, self.public.network, number)
    }
}

impl Public {
    async fn of(sma: &Sma) -> Self {
        let statement = sma.statement().await.unwrap();
        let current = statement.endorsement_keys.iter().find(|key| key.state == EndorsementKeyState::Current).unwrap();
        let key = PublicKey::from_spki(&current.spki).unwrap();
        Self { key, token_key: statement.token_key.unwrap(), network: testing::network() }
    }

    fn seal(&self, camera: &Camera, photo: &Photo, counter: u64) -> Bound {
        let (table, nuc_hash) = (camera.table_keys().remove(0), &camera.nuc_hash);
        self.seal_by((table.0, &table.1), nuc_hash, &device_key(camera), (photo.blinding(&self.key), counter))
    }

    /// From any secrets that somebody may have.
    fn seal_by(
        &self,
        table: (TableId, &TableKey),
        nuc_hash: &NucHash,
        device_key: &DeviceKey,
        (mut blinding, counter): (Blinding, u64),
    ) -> Bound {
        let seal = Seal {
            network: self.network,
            token_key: self.token_key,
            table,
            key_index: KeyIndex::new(9).unwrap(),
            commitment: &blinding.commitment(),
            nuc_hash,
            device_key,
            counter,
        };
        let (token, enc) = seal.seal(&mut OsRng).unwrap();
        blinding.enc = enc;
        Bound { token, blinding }
    }
}

impl Photo {
    fn new(key: &PublicKey, network: NetworkId, number: u8) -> Self {
        let digest = CaptureDigest::of(network, key.id(), &[number; 100]);
        let blinded = key.blind(&digest, &mut OsRng).unwrap();
        Self { digest, blinded }
    }

    /// Without `enc`, which comes with the token.
    fn blinding(&self, key: &PublicKey) -> Blinding {
        Blinding { enc: [0; 32], key_id: key.id(), blinded_message: self.blinded.blinded_message.clone() }
    }

    /// As the aggregator unblinds and checks it.
    fn finish(&self, key: &PublicKey, blind_signature: &[u8]) -> Endorsement {
        let Blinded { blinded_message, inverse } = &self.blinded;
        let endorsement = key.finish(&self.digest, blinded_message, inverse, blind_signature).unwrap();
        key.verify(&self.digest, &endorsement.signature).unwrap();
        endorsement
    }
}

impl Bound {
    fn question(&self) -> Value {
        let mut asked = question(&self.token);
        asked["enc"] = json!(hex::encode(self.blinding.enc));
        asked["key_id"] = json!(self.blinding.key_id.to_string());
        asked["blinded_message"] = json!(hex::encode(&self.blinding.blinded_message));
        asked
    }
}

impl Heard {
    async fn of(response: Response) -> Self {
        let status = response.status().as_u16();
        let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let headers = response.headers().iter().map(header).collect();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Self { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// What everybody hears whose token is worth nothing, whatever the reason.
    fn invalid() -> Self {
        let body = r#"{"valid":false,"message":"token_invalid"}"#.to_owned();
        let headers = [("content-type", "application/json".to_owned()), ("content-length", body.len().to_string())];
        Self { status: 200, headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), body }
    }

    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }

    fn blind_signature(&self) -> Vec<u8> {
        let answer = self.json();
        assert_eq!((&answer["valid"], &answer["message"]), (&json!(true), &json!("token_valid")), "{answer}");
        hex::decode_bounded(answer["endorsement"].as_str().unwrap(), 512).unwrap()
    }
}

/// What provisioning gave to this camera alone.
fn device_key(camera: &Camera) -> DeviceKey {
    DeviceKey::from_bytes(base64::decode_array(&camera.config.device_key.as_ref().unwrap().0).unwrap())
}

fn asked_under(request_id: u8, mut question: Value) -> Value {
    question["request_id"] = json!(hex::encode([request_id; 16]));
    question
}

/// The five fields of a token as they travel.
fn wire(token: &SealedToken) -> Value {
    serde_json::to_value(TokenJson::from(token)).unwrap()
}

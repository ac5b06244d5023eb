//! Cameras and their tokens in front of a store, without HTTP.

use std::sync::{Arc, OnceLock};

use birthmark_core::ids::{DeviceFamily, DeviceSerial, KeyIndex, TableId};
use birthmark_core::network::{EndorsementKeyId, EndorsementKeyState};
use birthmark_core::time::Minute;
use birthmark_core::token::v2::Seal;
use birthmark_core::token::{Blinding, NucHash, v1};
use birthmark_service::random::OsRng;
use rand_core::CryptoRng;

use crate::audit::{Act, Deed};
use crate::devices::{DeviceId, NewDevice, Registered, TokenVersion};
use crate::endorsement_keys::life::KeyRecord;
use crate::keys::{KeyGeneration, Keys, MasterKey};
use crate::question::{AskedToken, Question};
use crate::quota::Quota;
use crate::replay::RequestId;
use crate::rules::{Policy, Prepared, Rules, Verdict};
use crate::store::{Asked, Judged, KeyChange, KeysChanged, Store, StoreError, StoredKey};
use crate::tables::AssignedTables;
use crate::testing;
use crate::validation::Opening;

/// Some minute of a day in 2024, far from midnight.
pub(crate) const NOW: Minute = Minute(28_887_660);
/// Questions that are judged at once.
pub(crate) const fn asked(questions: Vec<Prepared>, now: Minute) -> Asked {
    Asked { questions, now, can_wait: false }
}

pub(crate) const DAY: u32 = 24 * 60;
/// The endorsement key that signs in most tests.
pub(crate) const KEY: EndorsementKeyId = EndorsementKeyId::from_bytes([0xe1; 8]);

/// A store and who asks it.
pub(crate) struct Desk {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) opening: Opening,
}

/// A registered camera.
#[derive(Clone, Debug)]
pub(crate) struct Camera {
    pub(crate) serial: DeviceSerial,
    pub(crate) nuc_hash: NucHash,
    pub(crate) tables: AssignedTables,
    pub(crate) generation: KeyGeneration,
}

/// Derived once: it takes a test build a tenth of a second.
pub(crate) fn keys() -> Arc<Keys> {
    static KEYS: OnceLock<Arc<Keys>> = OnceLock::new();
    Arc::clone(KEYS.get_or_init(|| Arc::new(Keys::derive(&MasterKey::from_slice(&[7; 32]).unwrap()))))
}

pub(crate) fn rules() -> Arc<Rules> {
    Arc::new(Rules { keys: keys(), policy: Policy { accept_version_1: true, quota: Quota::default() } })
}

pub(crate) fn opening() -> Opening {
    Opening::new(keys(), Some(testing::network()))
}

pub(crate) fn act() -> Act {
    Act { actor: "office".to_owned(), minute: NOW }
}

pub(crate) fn serial(number: u32) -> DeviceSerial {
    DeviceSerial::new(format!("CAM_{number}")).unwrap()
}

pub(crate) fn nuc_hash(number: u32) -> NucHash {
    let mut bytes = [0xa5; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NucHash::from_bytes(bytes)
}

pub(crate) fn new_device(number: u32) -> NewDevice {
    NewDevice {
        serial: serial(number),
        family: DeviceFamily::new("Raspberry Pi HQ Camera").unwrap(),
        nuc_digest: keys().nuc_digest(&nuc_hash(number)),
        min_token_version: TokenVersion::One,
        created: NOW,
        tables: None,
        tpm: None,
    }
}

pub(crate) fn key_record(key_id: EndorsementKeyId) -> KeyRecord {
    let state = EndorsementKeyState::Current;
    KeyRecord { key_id, spki: vec![1, 2, 3], state, created: NOW, replaced: None }
}

/// `key_id` becomes current, whatever was current becomes previous.
pub(crate) fn rotation(before: &[KeyRecord], key_id: EndorsementKeyId) -> KeyChange {
    let changed = before.iter().filter(|key| key.state == EndorsementKeyState::Current).map(|key| KeyRecord {
        state: EndorsementKeyState::Previous,
        replaced: Some(NOW),
        ..key.clone()
    });
    let new = StoredKey { record: key_record(key_id), sealed: vec![4, 5, 6] };
    KeyChange { before: before.to_vec(), changed: changed.collect(), new: Some(new), deed: key_deed() }
}

pub(crate) fn key_deed() -> Deed {
    Deed { act: "key.change", subject: String::new(), detail: "test".to_owned() }
}

impl Desk {
    /// With [`KEY`] as the current key.
    pub(crate) async fn open(store: Arc<dyn Store>) -> Self {
        assert_eq!(store.change_keys(rotation(&[], KEY), act()).await.unwrap(), KeysChanged::Yes);
        Self::reopen(store)
    }

    pub(crate) fn reopen(store: Arc<dyn Store>) -> Self {
        Self { store, opening: opening() }
    }

    pub(crate) async fn camera(&self, number: u32) -> Camera {
        let registered = self.store.register(vec![new_device(number)], act()).await.unwrap().remove(0).unwrap();
        Camera::of(number, registered)
    }

    pub(crate) async fn ask(&self, question: &Question) -> Verdict {
        self.ask_as("gate-1", question, NOW).await.unwrap()
    }

    pub(crate) async fn ask_at(&self, question: &Question, now: Minute) -> Verdict {
        self.ask_as("gate-1", question, now).await.unwrap()
    }

    pub(crate) async fn ask_as(&self, caller: &str, question: &Question, now: Minute) -> Result<Verdict, StoreError> {
        let judged = self.store.judge(asked(vec![self.opening.prepare(caller, question)], now)).await?;
        assert_eq!(judged.verdicts.len(), 1);
        Ok(judged.verdicts[0])
    }

    pub(crate) async fn ask_batch(&self, questions: &[&Question]) -> Judged {
        let prepared: Vec<Prepared> = questions.iter().map(|q| self.opening.prepare("gate-1", q)).collect();
        self.store.judge(asked(prepared, NOW)).await.unwrap()
    }

    pub(crate) async fn id(&self, camera: &Camera) -> DeviceId {
        self.store.device(camera.serial.clone()).await.unwrap().unwrap().id
    }
}

impl Camera {
    pub(crate) fn of(number: u32, Registered { tables, generation }: Registered) -> Self {
        Self { serial: serial(number), nuc_hash: nuc_hash(number), tables, generation }
    }

    /// A question about a fresh version 1 token, under a request id of its own.
    pub(crate) fn version_1(&self) -> Question {
        self.version_1_of(self.tables.first())
    }

    pub(crate) fn version_1_of(&self, table: TableId) -> Question {
        self.version_1_by(table, &mut OsRng)
    }

    /// The same random numbers give the same question.
    pub(crate) fn version_1_by(&self, table: TableId, rng: &mut impl CryptoRng) -> Question {
        let (keys, index) = (keys(), KeyIndex::new(7).unwrap());
        let token = v1::seal((table, keys.table(table).unwrap()), index, &self.nuc_hash, rng);
        Question { token: AskedToken::Unbound(token), request_id: Some(request_id(rng)) }
    }

    /// A question about a fresh version 2 token for [`KEY`].
    pub(crate) fn version_2(&self, counter: u64) -> Question {
        self.version_2_for(KEY, counter)
    }

    pub(crate) fn version_2_for(&self, key_id: EndorsementKeyId, counter: u64) -> Question {
        self.version_2_by(key_id, counter, &mut OsRng)
    }

    pub(crate) fn version_2_by(&self, key_id: EndorsementKeyId, counter: u64, rng: &mut impl CryptoRng) -> Question {
        let keys = keys();
        let mut blinded_message = vec![0; 256];
        rng.fill_bytes(&mut blinded_message);
        let mut blinding = Blinding { enc: [0; 32], key_id, blinded_message };
        let table = self.tables.first();
        let seal = Seal {
            network: testing::network(),
            token_key: keys.token_secret().public(),
            table: (table, keys.table(table).unwrap()),
            key_index: KeyIndex::new(9).unwrap(),
            commitment: &blinding.commitment(),
            nuc_hash: &self.nuc_hash,
            device_key: &keys.device_key(self.generation, keys.nuc_digest(&self.nuc_hash)),
            counter,
        };
        let (token, enc) = seal.seal(rng).unwrap();
        blinding.enc = enc;
        Question { token: AskedToken::Bound(token, blinding), request_id: Some(request_id(rng)) }
    }
}

/// The same token under another request id.
pub(crate) fn asked_anew(question: &Question) -> Question {
    let token = match &question.token {
        AskedToken::Unbound(token) => AskedToken::Unbound(token.clone()),
        AskedToken::Bound(token, blinding) => AskedToken::Bound(token.clone(), blinding.clone()),
    };
    Question { token, request_id: Some(request_id(&mut OsRng)) }
}

fn request_id(rng: &mut impl CryptoRng) -> RequestId {
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    RequestId(id)
}

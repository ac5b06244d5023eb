//! Random questions in random batches: the store must agree with the rules over a full memory.

use birthmark_core::network::EndorsementKeyState;
use birthmark_core::time::Minute;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Place;
use crate::devices::{DeviceId, Standing, Status};
use crate::question::Question;
use crate::rules::{Loaded, SigningKey};
use crate::testing::desk::{self, Camera, DAY, Desk, KEY, NOW, act, asked_anew};

const CAMERAS: u32 = 4;
const ROUNDS: usize = 120;

/// Everything that ever happened, in memory.
struct Memory {
    loaded: Loaded,
}

impl Memory {
    fn standing(&self, camera: &Camera) -> Standing {
        self.loaded.device(&desk::keys().nuc_digest(&camera.nuc_hash)).unwrap().clone()
    }

    fn set(&mut self, camera: &Camera, standing: Standing) {
        self.loaded.add_device(&desk::keys().nuc_digest(&camera.nuc_hash), standing);
    }
}

pub(super) async fn store_agrees_with_a_full_memory(place: &dyn Place) {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut desk = Desk::open(place.open()).await;
    let (rules, mut memory) = (desk::rules(), Memory { loaded: Loaded::default() });
    memory.loaded.set_signing_keys(vec![SigningKey {
        key_id: KEY,
        state: EndorsementKeyState::Current,
        replaced: None,
    }]);
    let mut cameras = Vec::new();
    for number in 1..=CAMERAS {
        let camera = desk.camera(number).await;
        let device = desk.store.device(camera.serial.clone()).await.unwrap().unwrap();
        let standing = Standing {
            id: DeviceId(i64::from(number)),
            status: device.status,
            tables: device.tables,
            min_token_version: device.min_token_version,
            generation: device.generation,
            quota: device.quota,
            tally: device.tally,
            highest: device.highest,
        };
        memory.set(&camera, standing);
        cameras.push(camera);
    }

    let mut asked: Vec<Question> = Vec::new();
    let mut now = NOW;
    for round in 0..ROUNDS {
        let batch: Vec<Question> = (0..rng.random_range(1..20)).map(|_| question(&mut rng, &cameras, &asked)).collect();
        let prepare = || batch.iter().map(|question| desk.opening.prepare("gate-1", question)).collect::<Vec<_>>();
        let judged = desk.store.judge(desk::asked(prepare(), now)).await.unwrap();
        let expected = rules.judge(&prepare(), now, &mut memory.loaded, &mut Vec::new());
        assert_eq!(judged.verdicts, expected, "round {round}, seed {seed}");
        asked.extend(batch);
        let camera = &cameras[rng.random_range(0..cameras.len())];
        match rng.random_range(0..12) {
            0 => {
                let mut standing = memory.standing(camera);
                standing.status = if standing.status == Status::Active { Status::Revoked } else { Status::Active };
                desk.store.set_status(camera.serial.clone(), standing.status, act()).await.unwrap();
                memory.set(camera, standing);
            }
            1 => now = Minute(now.0 + DAY / 3),
            2 => {
                desk.store.close().await;
                desk = Desk::reopen(place.open());
            }
            _ => {}
        }
    }
    for camera in &cameras {
        let (device, standing) =
            (desk.store.device(camera.serial.clone()).await.unwrap().unwrap(), memory.standing(camera));
        assert_eq!((device.tally, device.highest), (standing.tally, standing.highest), "seed {seed}");
    }
}

/// A new token, or one of before by itself or under another request id.
fn question(rng: &mut StdRng, cameras: &[Camera], asked: &[Question]) -> Question {
    let camera = &cameras[rng.random_range(0..cameras.len())];
    match rng.random_range(0..10) {
        0..3 => camera.version_1(),
        3..7 => camera.version_2(rng.random_range(1..3000)),
        _ if asked.is_empty() => camera.version_1(),
        chosen => {
            let old = &asked[rng.random_range(0..asked.len())];
            let request_id = old.request_id;
            let anew = asked_anew(old);
            if chosen == 7 { anew } else { Question { request_id, ..anew } }
        }
    }
}

//! Version 2 tokens on their way: one token for a number, whatever happens in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use birthmark_camera::capture::Step;
use birthmark_camera::device::{Sealer, TokenVersion};
use birthmark_camera::queue::{PhotoHashes, PhotoId, PhotoState};
use birthmark_camera::upload::{Outcome, body};
use birthmark_core::ImageHash;
use birthmark_core::keytable::TableKey;
use birthmark_core::network::EndorsementKeyState::Current;
use birthmark_core::network::Network;
use birthmark_core::token::v2::Opener;
use birthmark_service::random::OsRng;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::aggregator::{Act, Aggregator};
use super::authority::Authority;
use super::field::{DEADLINE, Field};
use super::world::{TABLE_KEY, as_value, device_config, network, token_secret};

fn config() -> Value {
    device_config(as_value(&network(&[(1, Current)])))
}

async fn drain(field: &Field, url: &str) -> usize {
    let uploader = field.uploader(url);
    let until = CancellationToken::new();
    timeout(DEADLINE, uploader.drain(&until, &field.on_step())).await.expect("an end in time").unwrap().confirmed
}

async fn try_once(field: &Field, url: &str, id: PhotoId) -> Outcome {
    field.uploader(url).submit_one(id, None, &field.on_step()).await.unwrap()
}

/// This test again, in a process of its own that plays another part.
fn another_process(test: &str, folder: &Path, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).env(ARGUMENT, argument);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What the process that started this one has said.
fn part() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(FOLDER)?.into(), std::env::var(ARGUMENT).unwrap()))
}

const FOLDER: &str = "BIRTHMARK_TEST_FOLDER";
const ARGUMENT: &str = "BIRTHMARK_TEST_ARGUMENT";

#[tokio::test(flavor = "multi_thread")]
async fn authority_passes_the_token_and_its_signature_endorses_the_photograph() {
    let (field, aggregator) = (Field::with(config()), Aggregator::start_with(Authority::signing(&[1]), []).await);
    for frame in 1..=3 {
        field.photo(frame);
    }
    assert_eq!(drain(&field, &aggregator.url()).await, 3);
    let mut passed = aggregator.authority(|authority| authority.passed());
    passed.sort_unstable();
    assert_eq!(passed, [1, 2, 3]);
    let steps = field.steps.lock().unwrap();
    let sealed = steps.iter().filter(|step| matches!(step, Step::TokenSealed { version: TokenVersion::V2, .. }));
    assert_eq!(sealed.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_token_and_binding_go_out_through_errors_and_restarts() {
    let script = [Act::Fail(503, None), Act::Cut, Act::Garbage, Act::Pend];
    let aggregator = Aggregator::start_with(Authority::signing(&[1]), script).await;
    let mut field = Field::with(config());
    let id = field.photo(1);
    for _ in 0..4 {
        let outcome = try_once(&field, &aggregator.url(), id).await;
        assert!(matches!(outcome, Outcome::Pending { .. }), "{outcome:?}");
        field.restart().await;
    }
    aggregator.forget();
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    let tokens = aggregator.tokens();
    assert_eq!(tokens.len(), 5);
    assert!(tokens.iter().all(|token| *token == tokens[0] && token["binding"]["inverse"].is_string()));
    // Judged anew after the aggregator forgot it: the same token passes again.
    assert_eq!(aggregator.authority(|authority| authority.passed()), [1, 1]);
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn process_killed_between_sealing_and_sending_leaves_the_token_that_is_then_sent() {
    if let Some((folder, url)) = part() {
        let field = Field::at(&folder, config());
        let die = |step: Step| {
            if matches!(step, Step::TokenSealed { .. }) {
                std::process::abort();
            }
        };
        let [photo] = field.queue.photos(None).await.unwrap().try_into().unwrap();
        field.uploader(&url).submit_one(photo.id, None, &die).await.unwrap();
        return;
    }
    let (field, aggregator) = (Field::with(config()), Aggregator::start_with(Authority::signing(&[1]), []).await);
    let id = field.photo(1);
    let test = "version_2::process_killed_between_sealing_and_sending_leaves_the_token_that_is_then_sent";
    let status = another_process(test, field.path(), &aggregator.url()).status().unwrap();
    assert!(!status.success());
    assert_eq!((aggregator.tokens().len(), field.queue.photo(id).await.unwrap().seals), (0, 1));

    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(aggregator.authority(|authority| authority.passed()), [1], "the number that the dead process took");
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn process_killed_while_it_waits_for_an_answer_has_its_token_repeated() {
    if let Some((folder, url)) = part() {
        let field = Field::at(&folder, config());
        drain(&field, &url).await;
        return;
    }
    let field = Field::with(config());
    let aggregator = Aggregator::start_with(Authority::signing(&[1]), [Act::Hang]).await;
    let id = field.photo(1);
    let test = "version_2::process_killed_while_it_waits_for_an_answer_has_its_token_repeated";
    let mut other = another_process(test, field.path(), &aggregator.url()).spawn().unwrap();
    timeout(DEADLINE, aggregator.has_got(1)).await.unwrap();
    other.kill().unwrap();
    other.wait().unwrap();

    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    let tokens = aggregator.tokens();
    assert_eq!((tokens.len(), &tokens[0]), (2, &tokens[1]));
    assert_eq!(aggregator.authority(|authority| authority.passed()), [1]);
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 1);
}

/// Numbers of `count` tokens, as the authority reads them.
fn sealed_numbers(field: &Field, count: usize) -> Vec<u64> {
    let camera = Sealer::new(Arc::new(field.credentials()), OsRng);
    let network = Network::parse(&network(&[(1, Current)])).unwrap();
    let authority = Opener::new(network.network_id(), &token_secret());
    let hash = |text: &str| ImageHash::of(text.as_bytes());
    let hashes = PhotoHashes { raw: hash("raw"), processed: hash("jpeg"), image_data: hash("data") };
    let body = body(&camera.credentials().authority().authority_id, &hashes).unwrap();
    (0..count)
        .map(|_| {
            let sealed = camera.seal_for(&body).unwrap();
            let blinding = sealed.binding.unwrap().blinding;
            let table = TableKey::from_bytes(TABLE_KEY);
            authority.open(&sealed.token, &blinding.enc, &blinding.commitment(), &table).unwrap().counter
        })
        .collect()
}

#[test]
fn two_processes_that_seal_at_once_never_share_a_number() {
    const EACH: usize = 150;
    if let Some((folder, name)) = part() {
        let numbers = sealed_numbers(&Field::at(&folder, config()), EACH);
        fs::write(folder.join(name), serde_json::to_vec(&numbers).unwrap()).unwrap();
        return;
    }
    let field = Field::with(config());
    let test = "version_2::two_processes_that_seal_at_once_never_share_a_number";
    let others = ["one", "other"].map(|name| (name, another_process(test, field.path(), name).spawn().unwrap()));
    let mut all = sealed_numbers(&field, EACH);
    for (name, mut process) in others {
        assert!(process.wait().unwrap().success());
        let numbers: Vec<u64> = serde_json::from_slice(&fs::read(field.path().join(name)).unwrap()).unwrap();
        assert!(numbers.is_sorted());
        all.extend(numbers);
    }
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (3 * EACH, 3 * EACH));
}

#[tokio::test(flavor = "multi_thread")]
async fn used_number_makes_the_counter_skip() {
    let (field, aggregator) = (Field::with(config()), Aggregator::start_with(Authority::signing(&[1]), []).await);
    // The camera's folder was set back to an old copy: these numbers are gone.
    aggregator.authority(|authority| (1..=200).for_each(|number| authority.remember(number)));
    let id = field.photo(1);
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(aggregator.authority(|authority| authority.passed()), [65 + 65_536]);
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 2);
    assert!(field.step_names().contains(&"Resealing".to_owned()));
    let tokens = aggregator.tokens();
    assert_ne!(tokens[0]["binding"]["inverse"], tokens[1]["binding"]["inverse"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_waited_too_long_is_sealed_again_with_the_next_number() {
    let (field, aggregator) =
        (Field::with(config()), Aggregator::start_with(Authority::signing(&[1]), [Act::Fail(503, None)]).await);
    let id = field.photo(1);
    try_once(&field, &aggregator.url(), id).await;
    // Meanwhile other photographs of this camera have gone out.
    aggregator.authority(|authority| authority.remember(2000));
    fs::write(field.path().join("token_counter"), "2001\n").unwrap();
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(aggregator.authority(|authority| authority.passed()), [2001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn counter_far_behind_is_brought_forward() {
    let (field, aggregator) = (Field::with(config()), Aggregator::start_with(Authority::signing(&[1]), []).await);
    aggregator.authority(|authority| authority.remember(50_000));
    let id = field.photo(1);
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(aggregator.authority(|authority| authority.passed()), [65 + 65_536]);
    assert_eq!(field.queue.photo(id).await.unwrap().seals, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_counter_makes_photographs_wait_and_says_what_to_write() {
    let (field, aggregator) = (Field::with(config()), Aggregator::start_with(Authority::signing(&[1]), []).await);
    let id = field.photo(1);
    fs::write(field.path().join("token_counter"), "").unwrap();
    let Outcome::Pending { receipt: None, last_error: Some(error) } = try_once(&field, &aggregator.url(), id).await
    else {
        panic!("not sealed")
    };
    assert!(error.contains("token_counter") && error.contains("date +%s"), "{error}");
    assert!(aggregator.tokens().is_empty());
    fs::write(field.path().join("token_counter"), "1733259600\n").unwrap();
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    assert_eq!(aggregator.authority(|authority| authority.passed()), [1_733_259_600]);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_version_1_from_before_goes_out_as_it_is_and_the_next_one_is_of_version_2() {
    let aggregator = Aggregator::start_with(Authority::signing(&[1]), [Act::Fail(503, None), Act::Reseal]).await;
    let mut field = Field::new();
    let id = field.photo(1);
    try_once(&field, &aggregator.url(), id).await;
    // The camera is provisioned for version 2 while the photograph waits.
    field.restart().await;
    field.reconfigure(config());
    assert_eq!(drain(&field, &aggregator.url()).await, 1);
    let tokens = aggregator.tokens();
    let lengths: Vec<_> = tokens.iter().map(|token| token["ciphertext"].as_str().unwrap().len() / 2).collect();
    assert_eq!((lengths, &tokens[0]), (vec![32, 32, 56], &tokens[1]));
    assert!(tokens[1].get("binding").is_none() && tokens[2]["binding"].is_object());
    assert_eq!(field.queue.photo(id).await.unwrap().state, PhotoState::Confirmed);
}

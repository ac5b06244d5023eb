//! What becomes of an authority in years: its CA ends, its endorsement keys retire.

use birthmark_core::network::EndorsementKeyState::{Current, Previous, Retired};
use birthmark_core::network::{NetworkBuilder, Validator};
use birthmark_core::note::{KeyName, SecretKey};
use birthmark_service::clock::ManualClock;

use super::*;

/// An authority and the clock that it lives by.
fn at_a_clock() -> (Authority, ManualClock) {
    let clock = ManualClock::at(testing::clock().now());
    let mut authority = Authority::new();
    futures::executor::block_on(authority.sma.close());
    authority.sma = Sma::open(authority.folder.path(), testing::config(), Arc::new(clock.clone())).unwrap();
    (authority, clock)
}

#[tokio::test]
async fn nothing_is_registered_once_certificates_cannot_be_issued() {
    let (authority, clock) = at_a_clock();
    clock.advance(21 * YEAR);
    let refused = authority.sma.provision(testing::camera_request(1)).await.unwrap_err();
    assert!(matches!(refused, ProvisionError::NotIssuing(_)), "{refused}");
    assert_eq!(authority.sma.store().counts().await.unwrap().devices, 0);
    clock.set(testing::clock().now());
    authority.sma.provision(testing::camera_request(1)).await.unwrap();
}

#[tokio::test]
async fn key_whose_ninety_days_are_over_is_retired_and_destroyed() {
    let (authority, clock) = at_a_clock();
    let first = authority.current_key().await;
    authority.sma.control().rotate_key(KeySize::default()).await.unwrap();
    assert!(authority.sma.signer(first).await.is_ok());
    let states = async || {
        let keys = authority.sma.store().endorsement_keys().await.unwrap();
        keys.iter().map(|key| (key.record.state, key.sealed.is_empty())).collect::<Vec<_>>()
    };
    clock.advance(89 * DAY);
    authority.sma.look_after_keys().await.unwrap();
    assert_eq!(states().await, [(Previous, false), (Current, false)]);
    clock.advance(2 * DAY);
    authority.sma.look_after_keys().await.unwrap();
    assert_eq!(states().await, [(Retired, true), (Current, false)]);
    assert!(matches!(authority.sma.signer(first).await.unwrap_err(), EndorseError::Gone(gone) if gone == first));
    let written = std::fs::read_to_string(authority.folder.path().join("authority.json")).unwrap();
    assert!(written.contains("retired"), "{written}");
}

#[tokio::test]
async fn network_that_refuses_version_1_is_not_served_with_weaker_rules() {
    let authority = Authority::new();
    let strict = SmaConfig { accept_version_1: false, ..testing::config() };
    let authority = authority.restarted(strict).await;
    let log = SecretKey::from_seed(&[1; 32]);
    let mut builder = NetworkBuilder::new(KeyName::new("example.org/log").unwrap(), testing::clock().now().minute());
    builder.validators = vec![Validator {
        consensus_key: SecretKey::from_seed(&[2; 32]).public_key(),
        log_key: log.public_key(),
        cosigning_key: SecretKey::from_seed(&[3; 32]).public_key(),
        p2p_address: None,
    }];
    let statement = authority.sma.statement().await.unwrap();
    builder.authorities = vec![statement.numbered(birthmark_core::ids::AuthorityNumber(1))];
    let (_, network) = builder.build().unwrap().sign(&[&log]).unwrap();
    authority.sma.check_network(&network).await.unwrap();
    let authority = authority.restarted(testing::config()).await;
    let error = authority.sma.check_network(&network).await.unwrap_err();
    assert!(matches!(error, SmaError::WeakerRules(_)), "{error}");
}

const DAY: u64 = 86_400;
const YEAR: u64 = 366 * DAY;

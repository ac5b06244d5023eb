//! The authority behind its real server and over real connections.

#[cfg(test)]
#[path = "serve/running.rs"]
mod running;

use std::io;
use std::sync::Arc;

use birthmark_core::api::validate::ValidateAnswer;
use birthmark_core::hex;
use birthmark_service::client::ClientError;
use parking_lot::Mutex;

use running::Running;

#[tokio::test]
async fn a_camera_is_provisioned_and_its_token_validated_over_http() {
    let authority = Running::start().await;
    let camera = authority.provision("PI_CAMERA_001", [0x42; 32]).await;
    assert_eq!(camera.manufacturer_cert.validation_endpoint, format!("{}/validate", authority.origin()));
    let (_, question) = running::seal(&camera, [0x42; 32]);
    assert_eq!(
        authority.ask(&question).await,
        ValidateAnswer { valid: true, message: "token_valid".to_owned(), endorsement: None }
    );
    assert_eq!(
        authority.ask(&question).await,
        ValidateAnswer { valid: false, message: "token_used".to_owned(), endorsement: None }
    );
    authority.stop().await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused_and_does_no_harm() {
    let authority = Running::start().await;
    let camera = authority.provision("PI_CAMERA_001", [0x42; 32]).await;
    let huge = "x".repeat(10 * 1024 * 1024);
    // Refused from its length alone: the answer, or a connection closed while the rest is being sent.
    match authority.aggregator.post_json::<ValidateAnswer>("/validate", &huge).await.unwrap_err() {
        ClientError::Status { status, .. } => assert_eq!(status, 413),
        ClientError::Broken { .. } => {}
        other => panic!("{other}"),
    }
    let (_, question) = running::seal(&camera, [0x42; 32]);
    assert!(authority.ask(&question).await.valid);
    authority.stop().await;
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_holds_a_secret_or_ties_a_camera_to_a_validation() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let authority = Running::start().await;
    let (serial, nuc) = ("PI_CAMERA_LOGGED", [0x5c; 32]);
    let camera = authority.provision(serial, nuc).await;
    let provisioned = log.0.lock().len();
    let (token, question) = running::seal(&camera, nuc);
    let mut forged = question.clone();
    forged.camera_token.auth_tag = Some("6b".repeat(16));
    let mut malformed = question.clone();
    malformed.camera_token.nonce = "not hex".to_owned();
    assert!(!authority.ask(&forged).await.valid);
    assert!(authority.ask(&question).await.valid);
    assert!(!authority.ask(&question).await.valid);
    assert!(authority.aggregator.post_json::<ValidateAnswer>("/validate", &malformed).await.is_err());
    authority.stop().await;

    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    // It is the log of these events, down to the requests.
    assert!(log.contains("camera provisioned") && log.contains("listening"), "{log}");
    let validation = log.get(provisioned..).unwrap();
    assert!(validation.contains("/validate"), "{validation}");
    assert!(!validation.contains(serial), "{validation}");
    let keys = camera.tables.iter().map(|grant| grant.encryption_key.0.clone());
    let bytes =
        [hex::encode(nuc), hex::encode(&token.ciphertext), hex::encode(token.auth_tag), hex::encode(token.nonce)];
    for secret in keys.chain(bytes).chain(["6b".repeat(16), "not hex".to_owned()]) {
        assert!(!log.contains(&secret), "{secret} is in {log}");
    }
}

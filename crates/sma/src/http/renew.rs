//! `POST /api/v1/devices/renew`: a device's certificate is renewed for its key's holder. No credential.
//!
//! Request and what is signed: `certificate::renewal`, and `docs/PROTOCOL.md` section 4.
//! ```text
//! {"certificate": "<PEM of the device's certificate alone>", "time": <unix seconds>, "signature": "<128 hex>"}
//! 201 {"device_certificate": "<PEM chain>"}
//! 403 not_renewed                                   revoked, or provisioned anew with another key
//! 422 wrong_certificate, wrong_time, wrong_signature, wrong_field
//! ```

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use birthmark_service::extract::StrictJson;
use birthmark_service::problem::Problem;
use serde::Serialize;

use super::store_problem;
use crate::authority::Sma;
use crate::authority::renewing::NotIssued;
use crate::certificate::renewal::{RenewalError, RenewalRequest};

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    device_certificate: String,
}

/// PEM of 8 KiB with its line ends escaped, and the rest.
const MAX_BODY: usize = 12 * 1024;

pub(super) async fn handle(
    State(sma): State<Sma>,
    StrictJson(request): StrictJson<RenewalRequest, MAX_BODY>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<Answer>), Problem> {
    let issued = sma.renew_certificate(&request).await.map_err(|error| problem(&error))?;
    // It names the device.
    let private = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, private, Json(Answer { device_certificate: issued.chain })))
}

fn problem(error: &NotIssued) -> Problem {
    match error {
        NotIssued::Request(error) => {
            let (code, title) = match error {
                RenewalError::Certificate(_) | RenewalError::Chain => {
                    ("wrong_certificate", "not one certificate of a device of this authority")
                }
                RenewalError::Time => ("wrong_time", "the request's time is not this authority's"),
                RenewalError::Signature => ("wrong_signature", "not signed by the certificate's key"),
            };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, title).with_detail(error.to_string())
        }
        NotIssued::Refused => {
            Problem::new(StatusCode::FORBIDDEN, "not_renewed", "the device gets no certificate for this key any more")
        }
        NotIssued::Store(error) => store_problem(error),
        NotIssued::Issue(error) => {
            tracing::error!(%error, "a device certificate could not be renewed");
            Problem::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use birthmark_core::hex;
    use birthmark_core::time::UnixSeconds;
    use serde_json::{Value, json};

    use crate::certificate::{device_signing_key, pem, renewal};
    use crate::testing::{self, Authority, Camera};

    const PATH: &str = "/api/v1/devices/renew";
    const END: &str = "-----END CERTIFICATE-----\n";

    fn request(camera: &Camera) -> Value {
        let chain = camera.config.device_certificate.as_deref().unwrap();
        let leaf = chain.split_inclusive(END).next().unwrap();
        let time = UnixSeconds(1_733_259_600);
        let message = renewal::message(time, &pem::decode(leaf).unwrap()[0]);
        let signature = device_signing_key(&camera.device_key()).sign(&message);
        json!({"certificate": leaf, "time": time, "signature": hex::encode(signature)})
    }

    #[tokio::test]
    async fn device_gets_another_certificate_for_its_key_without_a_credential() {
        let authority = Authority::with_tokens();
        let camera = authority.camera(1).await;
        let (status, body) = authority.post_as(None, PATH, &request(&camera)).await;
        assert_eq!(status, 201, "{body}");
        let renewed = body["device_certificate"].as_str().unwrap();
        let anchor = authority.ca_anchor();
        let identity = anchor.check_chain(renewed, UnixSeconds(1_733_259_600)).unwrap();
        let before = camera.config.device_certificate.clone().unwrap();
        let before = anchor.check_chain(&before, UnixSeconds(1_733_259_600)).unwrap();
        assert_eq!((identity.serial, identity.key), (before.serial, before.key));
        assert_ne!(identity.number, before.number);
        // And the new one serves for the next time.
        let mut again = camera.with(camera.config.clone());
        again.config.device_certificate = Some(renewed.to_owned());
        assert_eq!(authority.post_as(None, PATH, &request(&again)).await.0, 201);
    }

    #[tokio::test]
    async fn revoked_device_and_one_with_newer_secrets_get_none() {
        let authority = Authority::new();
        let camera = authority.camera(1).await;
        let asked = request(&camera);
        let device = "/api/v1/devices/PI_CAMERA_001";
        authority.post(&format!("{device}/revoke"), &Value::Null).await;
        let (status, body) = authority.post(PATH, &asked).await;
        assert_eq!((status, body["code"].as_str()), (403, Some("not_renewed")));
        authority.post(&format!("{device}/restore"), &Value::Null).await;
        assert_eq!(authority.post(PATH, &asked).await.0, 201);
        let nuc_hash = json!({"nuc_hash": testing::nuc_hex(1)});
        assert_eq!(authority.post(&format!("{device}/reprovision"), &nuc_hash).await.0, 201);
        let (status, body) = authority.post(PATH, &asked).await;
        assert_eq!((status, body["code"].as_str()), (403, Some("not_renewed")));
    }

    #[tokio::test]
    async fn wrong_requests_are_refused() {
        let authority = Authority::new();
        let (camera, other) = (authority.camera(1).await, authority.camera(2).await);
        let stranger = Authority::new().camera(1).await;
        for (field, value, code) in [
            ("certificate", json!("nonsense"), "wrong_certificate"),
            ("certificate", json!(camera.config.device_certificate), "wrong_certificate"),
            ("certificate", request(&stranger)["certificate"].clone(), "wrong_certificate"),
            ("certificate", request(&other)["certificate"].clone(), "wrong_signature"),
            ("signature", json!("00".repeat(64)), "wrong_signature"),
            ("signature", json!("00"), "wrong_signature"),
            ("time", json!(1_733_259_601), "wrong_signature"),
            ("time", json!(1_733_250_000), "wrong_time"),
            ("time", json!("now"), "wrong_field"),
        ] {
            let mut request = request(&camera);
            request[field] = value;
            let (status, body) = authority.post(PATH, &request).await;
            assert_eq!((status, body["code"].as_str()), (422, Some(code)), "{field}");
        }
        assert_eq!(authority.post_bytes(None, PATH, vec![b' '; 13 * 1024]).await.0, 413);
    }
}

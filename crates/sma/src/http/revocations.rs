//! `GET /api/v1/revocations?after=<64 hex>`: the public list of revoked devices, signed.
//!
//! Answer and signature: `revocations`, and `docs/PROTOCOL.md` section 4.
//! ```text
//! 200 {"authority_id", "time", "after": "<64 hex>" | null, "revoked": ["<64 hex>", …],
//!      "next": "<64 hex>" | null, "signature": "<128 hex>"}
//! 422 malformed_query
//! ```

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use birthmark_core::hash::Digest;
use birthmark_service::problem::Problem;
use serde::Deserialize;

use super::store_problem;
use crate::authority::Sma;
use crate::revocations::RevocationPage;

#[derive(Debug, Deserialize)]
pub(super) struct Options {
    after: Option<String>,
}

pub(super) async fn handle(
    State(sma): State<Sma>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Json<RevocationPage>, Problem> {
    let malformed =
        || Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_query", "after is an entry of 64 hex digits");
    let Query(options) = options.map_err(|_| malformed())?;
    let after = options.after.map(|text| Digest::from_hex(&text)).transpose().map_err(|_| malformed())?;
    sma.revocations(after).await.map(Json).map_err(|error| store_problem(&error))
}

#[cfg(test)]
mod tests {
    use birthmark_core::ids::DeviceSerial;
    use serde_json::Value;

    use crate::revocations::{RevocationPage, revocation_entry};
    use crate::testing::{self, Authority};

    const PATH: &str = "/api/v1/revocations";

    async fn page(authority: &Authority, path: &str) -> RevocationPage {
        let (status, body) = authority.get_as(None, path).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_value(body).unwrap()
    }

    #[tokio::test]
    async fn anybody_learns_of_a_revocation_at_once_and_of_no_serial() {
        let authority = Authority::with_tokens();
        let key = authority.ca_key();
        for number in 1..=3 {
            authority.camera(number).await;
        }
        assert_eq!(page(&authority, PATH).await.check(&key).unwrap(), []);
        let mut entries = Vec::new();
        for number in [1, 3] {
            let serial = testing::serial(number);
            authority.post_as(Some("admin"), &format!("/api/v1/devices/{serial}/revoke"), &Value::Null).await;
            entries.push(revocation_entry(&DeviceSerial::new(serial).unwrap()));
        }
        entries.sort_unstable_by_key(|entry| *entry.as_bytes());
        let whole = page(&authority, PATH).await;
        assert_eq!(whole.check(&key).unwrap(), entries);
        assert!(!serde_json::to_string(&whole).unwrap().contains("PI_CAMERA"));
        let rest = page(&authority, &format!("{PATH}?after={}", whole.revoked[0])).await;
        assert_eq!(rest.check(&key).unwrap(), entries[1..]);
        authority.post_as(Some("admin"), "/api/v1/devices/PI_CAMERA_001/restore", &Value::Null).await;
        assert_eq!(page(&authority, PATH).await.revoked.len(), 1);
    }

    #[tokio::test]
    async fn other_queries_are_refused() {
        let authority = Authority::new();
        for query in ["after=", "after=00", "after=1&after=2"] {
            let (status, body) = authority.get_as(None, &format!("{PATH}?{query}")).await;
            assert_eq!((status, body["code"].as_str()), (422, Some("malformed_query")), "{query}");
        }
    }
}

//! `GET /api/v1/audit?after=N&limit=M`: the audit log.
//!
//! Answer: `docs/PROTOCOL.md` section 4. `after` is 0 and `limit` 100 where they are left out.
//! ```text
//! 200 {"rows": [{"sequence", "time", "actor", "act", "subject", "detail", "digest"}, …], "next": N | null}
//! 422 malformed_query    not a number, or a limit that is not 1 to 1,000
//! ```

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use birthmark_service::auth::Caller;
use birthmark_service::problem::Problem;
use serde::Deserialize;

use super::{ADMIN, store_problem};
use crate::authority::Sma;
use crate::authority::control::MAX_AUDIT_ROWS;
use crate::views::AuditPage;

#[derive(Debug, Deserialize)]
pub(super) struct Options {
    after: Option<u64>,
    limit: Option<u32>,
}

pub(super) async fn handle(
    State(sma): State<Sma>,
    caller: Caller,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    caller.require(&[ADMIN])?;
    let (after, limit) = match options {
        Ok(Query(Options { after, limit })) => (after.unwrap_or(0), limit.unwrap_or(DEFAULT_LIMIT)),
        Err(_) => return Err(malformed()),
    };
    // Databases number rows with a sign.
    if !(1..=MAX_AUDIT_ROWS).contains(&limit) || i64::try_from(after).is_err() {
        return Err(malformed());
    }
    sma.control_by(caller.name()).audit(after, limit).await.map(Json).map_err(|error| store_problem(&error))
}

fn malformed() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_query", "after is a row's number, limit 1 to 1,000")
}

const DEFAULT_LIMIT: u32 = 100;

#[cfg(test)]
mod tests {
    use crate::testing::Authority;

    const PATH: &str = "/api/v1/audit";

    #[tokio::test]
    async fn pages_lead_through_the_whole_log() {
        let authority = Authority::new();
        for number in 1..=3 {
            authority.camera(number).await;
        }
        let (_, whole) = authority.get_as(None, PATH).await;
        let rows = whole["rows"].as_array().unwrap();
        let acts: Vec<_> = rows.iter().map(|row| row["act"].as_str().unwrap()).collect();
        assert_eq!(acts, ["key.rotate", "device.provision", "device.provision", "device.provision"]);
        assert!(whole["next"].is_null());
        let (mut after, mut paged) = (0, Vec::new());
        loop {
            let (status, page) = authority.get_as(None, &format!("{PATH}?after={after}&limit=2")).await;
            assert_eq!(status, 200);
            paged.extend(page["rows"].as_array().unwrap().clone());
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(&paged, rows);
    }

    #[tokio::test]
    async fn other_queries_are_refused() {
        let authority = Authority::new();
        for query in
            ["after=-1", "after=x", "limit=0", "limit=1001", "limit=", "after=18446744073709551615", "after=1&after=2"]
        {
            let (status, body) = authority.get_as(None, &format!("{PATH}?{query}")).await;
            assert_eq!((status, body["code"].as_str()), (422, Some("malformed_query")), "{query}");
        }
    }
}

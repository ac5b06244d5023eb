//! `GET /authority.json`: the authority's public keys, for those who write the network file.
//!
//! Answer: the authority's entry of the network file without its number, `docs/PROTOCOL.md` section 1. Cameras
//! and verifiers never take it from here: they believe the network file alone.

use axum::Json;
use axum::extract::State;
use birthmark_core::network::AuthorityStatement;
use birthmark_service::problem::Problem;

use super::key_problem;
use crate::authority::Sma;

pub(super) async fn handle(State(sma): State<Sma>) -> Result<Json<AuthorityStatement>, Problem> {
    sma.statement().await.map(Json).map_err(|error| key_problem(&error))
}

#[cfg(test)]
mod tests {
    use crate::testing::Authority;

    #[tokio::test]
    async fn anybody_gets_what_is_in_the_folder() {
        let authority = Authority::with_tokens();
        let (status, body) = authority.get_as(None, "/authority.json").await;
        let file = std::fs::read(authority.folder.path().join("authority.json")).unwrap();
        assert_eq!((status, body), (200, serde_json::from_slice(&file).unwrap()));
    }
}

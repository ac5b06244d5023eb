//! What a follower answers where a validator would take transactions.

use birthmark_service::problem::Problem;
use http::StatusCode;

pub(super) async fn post() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "follower", "this node follows others and takes no transactions")
        .with_detail("post to a validator")
}

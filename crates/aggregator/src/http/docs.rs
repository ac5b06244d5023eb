//! `GET /openapi.json`: the interface's own description; `GET /docs`: the same for people.
//!
//! For: whoever writes a client. Not for: making the description (`openapi`).
//!
//! The page is Swagger UI, which is part of this program (`assets/swagger-ui`): nothing is asked of any other
//! server. Its policy allows scripts of files only, none within the page, and requests to this server alone.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use bytes::Bytes;

use super::openapi;
use crate::aggregator::Inner;

/// Neither is described by the description.
pub(super) fn routes() -> Router<Arc<Inner>> {
    let page = || async { (PAGE_POLICY, file("text/html; charset=utf-8", PAGE, "no-cache")) };
    let mut routes = Router::new()
        .route("/openapi.json", get(async || file("application/json", DESCRIPTION.clone(), "no-cache")))
        .route("/docs", get(page))
        .route("/docs/", get(async || Redirect::permanent("/docs")));
    for &(path, media_type, content) in FILES {
        let content = Bytes::from_static(content);
        routes = routes.route(path, get(async move || file(media_type, content, FOR_EVER)));
    }
    routes
}

fn file(media_type: &'static str, content: impl Into<Bytes>, caching: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, content.into())
}

/// Made once.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| openapi::text().into());

const PAGE: &[u8] = include_bytes!("../../assets/docs.html");

/// The paths carry the version, so a browser may keep them.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/docs/5.35.0/docs.js", SCRIPT, include_bytes!("../../assets/docs.js")),
    ("/docs/5.35.0/docs.css", STYLE, include_bytes!("../../assets/docs.css")),
    ("/docs/5.35.0/swagger-ui-bundle.js", SCRIPT, include_bytes!("../../assets/swagger-ui/swagger-ui-bundle.js")),
    ("/docs/5.35.0/swagger-ui.css", STYLE, include_bytes!("../../assets/swagger-ui/swagger-ui.css")),
    ("/docs/5.35.0/LICENSE", TEXT, include_bytes!("../../assets/swagger-ui/LICENSE")),
    ("/docs/5.35.0/NOTICE", TEXT, include_bytes!("../../assets/swagger-ui/NOTICE")),
    ("/docs/5.35.0/LICENSES.txt", TEXT, include_bytes!("../../assets/swagger-ui/swagger-ui-bundle.js.LICENSE.txt")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

const PAGE_POLICY: [(HeaderName, HeaderValue); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_names_only_files_that_are_served_and_runs_no_script_of_its_own() {
        let page = std::str::from_utf8(PAGE).unwrap();
        let named = page.split(['"', '\'']).filter(|text| text.starts_with('/'));
        for path in named {
            let served = FILES.iter().any(|(known, _, _)| *known == path) || path == "/openapi.json";
            assert!(served, "{path}");
        }
        assert!(!page.contains("//") && !page.contains(" on"), "no other server, no inline handler");
        for script in page.split("<script").skip(1) {
            let (attributes, content) = script.split_once('>').unwrap();
            assert!(attributes.contains("src=") && content.starts_with("</script>"), "{script}");
        }
        assert!(!PAGE_POLICY[0].1.to_str().unwrap().contains("unsafe"));
    }
}

//! The description of this interface: OpenAPI 3.1, made from the types and handlers themselves.
//!
//! For: `docs/openapi/aggregator.json`, which a test holds to it, and `docs`. Each handler says what is its own;
//! what any of them may answer is added here, once. Not for: what the values mean (`docs/PROTOCOL.md`).

use birthmark_service::problem::Problem;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

/// Tags, under which the page gathers the endpoints.
pub(super) const SUBMITTING: &str = "Submitting";
pub(super) const VERIFYING: &str = "Verifying";
pub(super) const OPERATION: &str = "Operation";

/// A submission that is taken where `demo` runs. Its token is nobody's, so that it is rejected later.
pub(super) fn example() -> serde_json::Value {
    let [raw, processed] = ["1a".repeat(32), "2b".repeat(32)];
    serde_json::json!({
        "submission_type": "camera",
        "image_hashes": [
            {"image_hash": raw, "modification_level": 0, "parent_image_hash": null},
            {"image_hash": processed, "modification_level": 1, "parent_image_hash": raw},
        ],
        "camera_token": {"ciphertext": "3c".repeat(32), "auth_tag": "4d".repeat(16), "nonce": "5e".repeat(12),
                         "table_id": 42, "key_index": 7},
        "manufacturer_cert": {"authority_id": "SIMULATED_MFG_001"},
        "timestamp": 1_733_259_600,
    })
}

/// What the handlers' own descriptions are put into.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// The whole description as it is served.
pub(super) fn text() -> String {
    let mut described = super::described().into_openapi();
    Common.modify(&mut described);
    // Strings, numbers and maps always serialise.
    let mut text = described.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Birthmark aggregator",
        description = "Takes the hashes of photographs with the token that vouches for them, sees them registered, and \
                       answers what is on record. `docs/PROTOCOL.md` says what everything means. Errors are \
                       `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem))
)]
struct Frame;

/// What every endpoint may answer, and the endpoints that `birthmark_service` brings.
struct Common;

impl Modify for Common {
    fn modify(&self, openapi: &mut OpenApi) {
        for (path, id, says, ready) in [
            ("/health", "health", "The process runs and answers.", "alive"),
            ("/ready", "ready", "Whether work may be sent here.", "ready"),
        ] {
            openapi.paths.paths.insert(path.to_owned(), PathItem::new(HttpMethod::Get, state(id, says, ready)));
        }
        for (path, item) in &mut openapi.paths.paths {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                complete(path, operation);
            }
        }
    }
}

/// `{"status": "…"}`.
fn state(id: &str, says: &str, status: &str) -> Operation {
    let field = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([status]));
    let body = ObjectBuilder::new().schema_type(Type::Object).property("status", field).required("status");
    let content = ContentBuilder::new().schema(Some(body)).build();
    let answer = ResponseBuilder::new().description("Yes.").content("application/json", content);
    OperationBuilder::new().operation_id(Some(id)).tag(OPERATION).summary(Some(says)).response("200", answer).build()
}

/// Adds what an endpoint of this kind may answer besides, and says of all errors what they look like.
fn complete(path: &str, operation: &mut Operation) {
    let takes_a_body = operation.request_body.is_some();
    let is_limited = [SUBMITTING, VERIFYING].iter().any(|tag| operation.tags.iter().flatten().any(|own| own == tag));
    let common: &[(bool, &str, &str)] = &[
        (true, "400", "`bad_request`; of a body `malformed_json`, `duplicate_key`, `broken_body`."),
        (is_limited, "401", "`unauthorized`: a credential was shown, and it is wrong. None is needed but for edits."),
        (path.contains('{'), "404", "`not_found`."),
        (true, "405", "`method_not_allowed`."),
        (true, "413", "`too_large`."),
        (takes_a_body, "415", "`unsupported_media_type`."),
        (is_limited, "429", "`rate_limited`: this client has asked for more than it may for now."),
        (true, "500", "`internal`: the log has the cause."),
        (true, "503", "`not_ready`, `busy`, `timed_out`: nothing was decided."),
    ];
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            leave_out_null(parameter);
        }
    }
    let responses = &mut operation.responses.responses;
    for &(applies, status, says) in common {
        if applies && !responses.contains_key(status) {
            responses.insert(status.to_owned(), RefOr::T(Response::new(says)));
        }
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        if status.starts_with(['4', '5']) {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
        }
        if is_limited && !matches!(status.as_str(), "400" | "401" | "404" | "405" | "413" | "415" | "500") {
            header(
                response,
                "RateLimit-Policy",
                "How much this client may ask for (draft-ietf-httpapi-ratelimit-headers).",
            );
            header(response, "RateLimit", "Where it stands.");
        }
        match status.as_str() {
            "405" => header(response, "Allow", "The methods that this address takes."),
            "429" | "503" => header(response, "Retry-After", "Seconds after which to ask again."),
            _ => {}
        }
    }
}

/// A parameter that may be missing is never null.
fn leave_out_null(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
        && let SchemaType::Array(_) = schema.schema_type
    {
        schema.schema_type = SchemaType::Type(Type::String);
    }
}

fn header(response: &mut Response, name: &str, says: &str) {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let header = HeaderBuilder::new().schema(Some(text)).description(Some(says)).build();
    response.headers.insert(name.to_owned(), RefOr::T(header));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn committed_description_is_the_one_that_is_served() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi/aggregator.json");
        let served = text();
        if std::env::var_os("BIRTHMARK_WRITE_OPENAPI").is_some() {
            std::fs::write(&file, &served).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == served,
            "docs/openapi/aggregator.json is not what the server describes; write it anew with \
             BIRTHMARK_WRITE_OPENAPI=1 cargo test -p birthmark-aggregator committed_description"
        );
    }

    #[test]
    fn every_route_is_described_with_its_problems() {
        let described: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(described["openapi"], "3.1.0");
        let paths = described["paths"].as_object().unwrap();
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let is_problem = response["content"]["application/problem+json"].is_object();
                    assert_eq!(is_problem, !status.starts_with('2'), "{method} {path} {status}");
                }
            }
        }
    }
}

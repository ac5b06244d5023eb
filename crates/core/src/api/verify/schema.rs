//! How OpenAPI describes the answer: either a record with all of its fields, or a miss.
//!
//! A derived schema would have all fields optional, and allow answers that are neither.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, OneOfBuilder, Ref, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{AsOf, OtherRecord, ProvenanceLink, Record, VerifyAnswer};
use crate::absence::AbsenceProof;
use crate::batch::Assurance;
use crate::index::trie::OtherKey;

impl PartialSchema for VerifyAnswer {
    fn schema() -> RefOr<Schema> {
        let record = AllOfBuilder::new().item(Ref::from_schema_name("Record")).item(outline(None, true));
        let absence = Ref::from_schema_name("AbsenceProof");
        let miss = outline(Some(false), false)
            .property("as_of", Ref::from_schema_name("AsOf"))
            .property("absence", absence)
            .required("as_of")
            .description(Some("No record. With `absence` under `?proof=1`."));
        OneOfBuilder::new()
            .item(record)
            .item(miss)
            .description(Some("What the registry holds about one hash: a record, or none."))
            .into()
    }
}

impl ToSchema for VerifyAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend([
            named::<Record>(),
            named::<AsOf>(),
            named::<AbsenceProof>(),
            named::<ProvenanceLink>(),
            named::<OtherRecord>(),
            named::<OtherKey>(),
            named::<Assurance>(),
        ]);
    }
}

fn named<T: ToSchema>() -> (String, RefOr<Schema>) {
    (T::name().into_owned(), T::schema())
}

/// The fields of both.
fn outline(verified: Option<bool>, recorded: bool) -> ObjectBuilder {
    let flag = |values: Option<[bool; 1]>| ObjectBuilder::new().schema_type(Type::Boolean).enum_values(values);
    let hash = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9a-f]{64}$"));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("verified", flag(verified.map(|value| [value])))
        .property("recorded", flag(Some([recorded])))
        .property("image_hash", hash)
        .required("verified")
        .required("recorded")
        .required("image_hash")
}

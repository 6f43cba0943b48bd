//! JSON schemas of what the main job and `verify` write, from the same types that write it.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::Report;
use crate::Verification;

/// JSON schema of `report.json` (draft 2020-12), pretty-printed with sorted keys and a final newline.
#[must_use]
pub fn report_schema() -> String {
    schema_of::<Report>()
}

/// JSON schema of what `verify --json` prints (draft 2020-12), pretty-printed with sorted keys and a final newline.
#[must_use]
pub fn verification_schema() -> String {
    schema_of::<Verification>()
}

fn schema_of<T: JsonSchema>() -> String {
    let schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    // Without effect unless another crate asks `serde_json` to keep the order of insertion.
    schema.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&schema)
        .expect("a JSON value with text keys can always be printed");
    text.push('\n');
    text
}

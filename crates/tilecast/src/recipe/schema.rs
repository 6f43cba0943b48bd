//! The JSON schema of a recipe, for editors and for the help of error messages.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::Recipe;

/// JSON schema of a recipe (draft 7), pretty-printed with sorted keys and a final newline: equal on every run.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = schema().to_value();
    // Without effect unless another crate asks `serde_json` to keep the order of insertion.
    schema.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&schema)
        .expect("a JSON value with text keys can always be printed");
    text.push('\n');
    text
}

/// The schema without references, so that a path of keys can be followed. Editors know draft 7 best.
pub(super) fn schema() -> Schema {
    SchemaSettings::draft07()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Recipe>()
}

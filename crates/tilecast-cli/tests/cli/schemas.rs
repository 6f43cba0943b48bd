//! The published JSON schemas: what `quantize` and `verify` write is what they say, no key more and none less.

use std::fs;

use serde_json::{Map, Value};

use crate::support::{Folder, SRVGG, repository};

fn schema(name: &str) -> Value {
    let path = repository().join("docs").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every way in which a document differs from a schema. Knows the keywords that our schemas use and refuses others, so that
/// none is passed over. Objects may have no keys but those of the schema, unless it describes further ones.
fn differences(document: &Value, schema: &Value, root: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        assert_eq!(schema, true, "{at}");
        return;
    };
    let mut fail = |what: String| found.push(format!("{at}: {what}"));
    for (keyword, value) in schema {
        match keyword.as_str() {
            "type" => {
                let types = value
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![value.clone()]);
                if !types
                    .iter()
                    .any(|t| has_type(document, t.as_str().unwrap()))
                {
                    fail(format!("not of type {value}"));
                }
            }
            "const" if document != value => fail(format!("is not {value}")),
            "enum" if !value.as_array().unwrap().contains(document) => {
                fail(format!("{document} is not one of {value}"));
            }
            // Values that fit, words, and what is followed below.
            "const"
            | "enum"
            | "$schema"
            | "$defs"
            | "title"
            | "description"
            | "format"
            | "default"
            | "properties"
            | "additionalProperties"
            | "items"
            | "$ref"
            | "anyOf"
            | "allOf"
            | "oneOf" => {}
            "minimum" => {
                if document
                    .as_f64()
                    .is_some_and(|n| n < value.as_f64().unwrap())
                {
                    fail(format!("is below {value}"));
                }
            }
            "minItems" | "maxItems" => {
                let length = document.as_array().map_or(0, Vec::len) as u64;
                let limit = value.as_u64().unwrap();
                if (keyword == "minItems" && length < limit)
                    || (keyword == "maxItems" && length > limit)
                {
                    fail(format!("has {length} items"));
                }
            }
            "required" => {
                for key in value.as_array().unwrap() {
                    if document.is_object() && document.get(key.as_str().unwrap()).is_none() {
                        fail(format!("has no {key}"));
                    }
                }
            }
            other => panic!("{at}: this test does not know the keyword `{other}`"),
        }
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        differences(document, target, root, at, found);
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(alternatives) = schema.get(alternatives).and_then(Value::as_array) {
            let fits = |alternative| {
                let mut found = Vec::new();
                differences(document, alternative, root, at, &mut found);
                found.is_empty()
            };
            if !alternatives.iter().any(fits) {
                found.push(format!("{at}: none of the alternatives fits"));
            }
        }
    }
    for part in schema
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        differences(document, part, root, at, found);
    }
    if let (Some(items), Some(elements)) = (schema.get("items"), document.as_array()) {
        for (index, element) in elements.iter().enumerate() {
            differences(element, items, root, &format!("{at}/{index}"), found);
        }
    }
    if let Some(object) = document.as_object() {
        keys(object, schema, root, at, found);
    }
}

fn keys(
    object: &Map<String, Value>,
    schema: &Map<String, Value>,
    root: &Value,
    at: &str,
    found: &mut Vec<String>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let further = schema.get("additionalProperties");
    if properties.is_none() && further.is_none() {
        return;
    }
    for (key, value) in object {
        let at = format!("{at}/{key}");
        match (properties.and_then(|p| p.get(key)), further) {
            (Some(property), _) => differences(value, property, root, &at, found),
            (None, Some(further)) => differences(value, further, root, &at, found),
            (None, None) => found.push(format!("{at}: is not in the schema")),
        }
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type `{other}`"),
    }
}

fn assert_fits(document: &Value, schema: &Value) {
    let mut found = Vec::new();
    differences(document, schema, schema, "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn reports_are_what_their_schema_says() {
    let folder = Folder::with_images();
    let schema = schema("report.schema.json");
    let report = folder.succeed_with_json("quantize recipe.yaml --out out --json");
    assert_fits(&report, &schema);
    // Missed gates, a mixture, and a baseline.
    let line = "quantize recipe.yaml --out again --json --baseline out/report.json --set artifacts.int8-ort-cpu.gate.min_psnr_db=60";
    let failed = folder.run(line).json();
    assert!(failed["baseline"].is_object() && failed["artifacts"][1]["mixture"].is_object());
    assert_fits(&failed, &schema);

    let mut broken = report;
    broken["artifacts"][0]["bytes"] = "many".into();
    broken["surprise"] = 1.into();
    broken.as_object_mut().unwrap().remove("stages");
    let mut found = Vec::new();
    differences(&broken, &schema, &schema, "", &mut found);
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn verifications_are_what_their_schema_says() {
    let folder = Folder::with_images();
    let schema = schema("verify.schema.json");
    let line = format!("verify {SRVGG} {SRVGG} --images images --json");
    assert_fits(&folder.succeed_with_json(&line), &schema);
    let tiled = format!("{line} --tile 64 --references references --min-psnr 40 --max-drop 1");
    assert_fits(&folder.succeed_with_json(&tiled), &schema);
}

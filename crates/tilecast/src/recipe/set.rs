//! `--set key=value`: changes to the tree before it becomes a recipe.

use super::TargetName;
use super::error::Problem;
use super::suggest;
use super::tree::{Key, Node, Origin, Value, shortened};

/// No key of a recipe is deeper; a limit keeps recursion over hostile arguments short.
const MAX_DEPTH: usize = 16;

/// Applies the `idx`-th `--set` argument to `tree`. Maps on the way that do not exist are created; whether the keys are
/// known is found out together with those of the file.
pub(super) fn apply(tree: &mut Node, idx: usize, argument: &str) -> Result<(), Problem> {
    let origin = Origin::Override(idx);
    let Some((path, text)) = argument.split_once('=') else {
        return Err(problem(
            origin,
            "no `=` between key and value".to_owned(),
            "write for example `--set tiling.validate_tile=448`".to_owned(),
        ));
    };
    let segments: Vec<&str> = path.trim().split('.').collect();
    if segments.len() > MAX_DEPTH || segments.iter().any(|segment| segment.is_empty()) {
        return Err(problem(
            origin,
            "not a key of a recipe".to_owned(),
            "write names with dots between them, for example `artifacts.0.gate.min_psnr_db`"
                .to_owned(),
        ));
    }
    let mut value = Node::parse(text).map_err(|syntax| {
        problem(
            origin,
            syntax.message,
            "the value is read as YAML; put text with special characters in quotes".to_owned(),
        )
    })?;
    value.move_to(origin);
    set(tree, &segments, 0, value)
}

/// Puts `value` at `segments[depth..]` below `node`, which is at `segments[..depth]`.
fn set(node: &mut Node, segments: &[&str], depth: usize, value: Node) -> Result<(), Problem> {
    let origin = value.origin;
    let Some(segment) = segments.get(depth) else {
        *node = value;
        return Ok(());
    };
    let key = Key {
        origin,
        text: (*segment).to_owned(),
    };
    let mut absent = Node {
        origin,
        value: Value::Null,
    };
    match &mut node.value {
        Value::List(items) => {
            let idx = if segments[..depth] == ["artifacts"] {
                artifact_idx(items, segment, origin)?
            } else {
                element_idx(items, segment, &segments[..depth], origin)?
            };
            set(&mut items[idx], segments, depth + 1, value)
        }
        Value::Map(entries) => {
            if let Some((_, inner)) = entries.iter_mut().find(|(key, _)| key.text == *segment) {
                set(inner, segments, depth + 1, value)
            } else {
                set(&mut absent, segments, depth + 1, value)?;
                entries.push((key, absent));
                Ok(())
            }
        }
        // `global_statistics: local` gives way to `global_statistics.sweeps=2`, and an empty `gate:` to its first key.
        _ => {
            set(&mut absent, segments, depth + 1, value)?;
            *node = Node {
                origin,
                value: Value::Map(vec![(key, absent)]),
            };
            Ok(())
        }
    }
}

fn element_idx(
    items: &[Node],
    segment: &str,
    path: &[&str],
    origin: Origin,
) -> Result<usize, Problem> {
    match segment.parse::<usize>() {
        Ok(idx) if idx < items.len() => Ok(idx),
        _ => Err(problem(
            origin,
            format!(
                "`{}` has no element `{}`",
                path.join("."),
                shortened(segment)
            ),
            format!("it has {} elements, counted from 0", items.len()),
        )),
    }
}

fn artifact_idx(artifacts: &[Node], segment: &str, origin: Origin) -> Result<usize, Problem> {
    let names: Vec<String> = artifacts.iter().map(artifact_name).collect();
    let by_idx = segment.parse().ok().filter(|idx| *idx < names.len());
    let by_name = || names.iter().position(|name| name == segment);
    by_idx.or_else(by_name).ok_or_else(|| {
        let candidates: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match suggest::closest(segment, &candidates) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if names.is_empty() => "the recipe has no artifacts".to_owned(),
            None => format!(
                "the artifacts are {}, or by index 0 to {}",
                suggest::listed(&names),
                names.len() - 1
            ),
        };
        problem(
            origin,
            format!("no artifact `{}`", shortened(segment)),
            help,
        )
    })
}

/// The name that an artifact will have; nonsense where its keys are wrong, which is reported later.
fn artifact_name(artifact: &Node) -> String {
    let text = |key: &str| artifact.get(key).and_then(Node::as_str);
    text("name").map_or_else(
        || {
            let target = text("target").unwrap_or(TargetName::Generic.name());
            format!("{}-{target}", text("precision").unwrap_or(""))
        },
        str::to_owned,
    )
}

fn problem(origin: Origin, message: String, help: String) -> Problem {
    Problem {
        origin: Some(origin),
        message,
        label: String::new(),
        help: Some(help),
    }
}

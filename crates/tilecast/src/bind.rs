//! `--bind`: sizes of a model's inputs as a user writes them.
//!
//! `NAME=N` gives a symbolic dimension a number, by the name the model has for it; `INPUT:AXIS=N` and
//! `INPUT=1x3x256x256` say the same of dimensions that have no name.

use std::collections::BTreeMap;

use tilecast_onnx::{Graph, InputExtents, Model, bound_extents, dimension_names};

use crate::{Failure, FailureKind};

/// Gives a model the sizes that these bindings ask for, one or several (with commas between them) in each text.
///
/// # Errors
/// A binding is malformed, names what the model does not have, or says something else than another one (usage); a node
/// cannot run at these sizes (model).
pub(crate) fn bind(model: &mut Model, bindings: &[String]) -> Result<(), Failure> {
    if bindings.is_empty() {
        return Ok(());
    }
    let mut requested = Requested::default();
    for binding in bindings.iter().flat_map(|text| pieces(text)) {
        requested.add(&binding, &model.graph())?;
    }
    let inputs = requested.extents(&model.graph())?;
    tilecast_onnx::bind(model, &inputs, &requested.names)
        .map_err(|error| Failure::from(error).about(model.path().display()))
}

/// The bindings in a text. Names may hold commas, so a piece without `=` is the beginning of the next.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut begun: Option<String> = None;
    for piece in text.split(',') {
        let whole = match begun.take() {
            Some(beginning) => format!("{beginning},{piece}"),
            None => piece.to_owned(),
        };
        if whole.contains('=') {
            pieces.push(whole);
        } else {
            begun = Some(whole);
        }
    }
    pieces.extend(begun);
    pieces
}

/// What was asked for.
#[derive(Default)]
struct Requested {
    names: BTreeMap<String, usize>,
    /// By input and axis.
    axes: BTreeMap<(String, usize), usize>,
}

impl Requested {
    fn add(&mut self, binding: &str, graph: &Graph<'_>) -> Result<(), Failure> {
        let malformed = || usage(format!("`{binding}` is no binding")).with_help(FORMS);
        let (place, value) = binding.rsplit_once('=').ok_or_else(malformed)?;
        let place = place.trim();
        let extents = value
            .split('x')
            .map(|n| n.trim().parse().ok().filter(|&n: &usize| n > 0))
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(malformed)?;
        let rank_of = |name: &str| {
            let input = graph.inputs().find(|i| i.name.as_deref() == Some(name))?;
            Some(bound_extents(input, &self.names).map(|dims| dims.len()))
        };
        match (extents.as_slice(), rank_of(place)) {
            (&[extent], _) if dimension_names(graph).contains(&place) => {
                insert(&mut self.names, place.to_owned(), extent, place)
            }
            (shape, Some(rank)) => {
                if let Some(rank) = rank.filter(|&rank| rank != shape.len()) {
                    return Err(usage(format!(
                        "`{binding}` gives {} dimensions, input `{place}` has {rank}",
                        shape.len()
                    ))
                    .with_help(FORMS));
                }
                for (axis, &extent) in shape.iter().enumerate() {
                    insert(&mut self.axes, (place.to_owned(), axis), extent, place)?;
                }
                Ok(())
            }
            (&[extent], None) => {
                let by_axis = place
                    .rsplit_once(':')
                    .and_then(|(input, axis)| Some((input, axis.trim().parse::<usize>().ok()?)))
                    .and_then(|(input, axis)| Some((input, axis, rank_of(input)??)));
                match by_axis {
                    Some((input, axis, rank)) if axis < rank => {
                        insert(&mut self.axes, (input.to_owned(), axis), extent, place)
                    }
                    Some((input, axis, rank)) => Err(usage(format!(
                        "input `{input}` has {rank} dimensions, and none numbered {axis}"
                    ))
                    .with_help("dimensions are counted from 0")),
                    None => Err(unknown(place, graph)),
                }
            }
            _ => Err(unknown(place, graph)),
        }
    }

    /// The extents of all inputs.
    fn extents(&self, graph: &Graph<'_>) -> Result<InputExtents, Failure> {
        let mut all = InputExtents::default();
        for input in graph.inputs() {
            let name = input.name.as_deref().unwrap_or_default();
            let by_place: BTreeMap<usize, usize> = self
                .axes
                .iter()
                .filter(|((input, _), _)| input == name)
                .map(|((_, axis), extent)| (*axis, *extent))
                .collect();
            let named = bound_extents(input, &self.names);
            let declared = bound_extents(input, &BTreeMap::new());
            // An input without a shape is bound as a whole, if at all.
            let mut extents = match (named, by_place.len()) {
                (Some(named), _) => named,
                (None, 0) => continue,
                (None, rank) => vec![None; rank],
            };
            for (axis, extent) in by_place {
                let is_open = declared.as_ref().is_none_or(|d| d[axis].is_none());
                if let Some(other) = extents[axis].filter(|&other| is_open && other != extent) {
                    return Err(twice(&format!("{name}:{axis}"), other, extent));
                }
                extents[axis] = Some(extent);
            }
            all = all.with(name, extents);
        }
        Ok(all)
    }
}

const FORMS: &str = "a binding is `NAME=256` with the name of a symbolic dimension, `INPUT:AXIS=256`, or \
     `INPUT=1x3x256x256`; sizes are numbers above zero";

fn usage(message: String) -> Failure {
    Failure::new(FailureKind::Usage, message)
}

fn insert<K: Ord>(
    into: &mut BTreeMap<K, usize>,
    key: K,
    extent: usize,
    place: &str,
) -> Result<(), Failure> {
    match into.insert(key, extent) {
        Some(other) if other != extent => Err(twice(place, other, extent)),
        _ => Ok(()),
    }
}

fn twice(place: &str, a: usize, b: usize) -> Failure {
    usage(format!("`{place}` is bound to {a} and to {b}"))
}

fn unknown(place: &str, graph: &Graph<'_>) -> Failure {
    let quoted = |names: Vec<&str>| {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let names = dimension_names(graph);
    let there = if names.is_empty() {
        "none of its dimensions has a name".to_owned()
    } else {
        format!("the names there are: {}", quoted(names))
    };
    let inputs = quoted(graph.inputs().filter_map(|i| i.name.as_deref()).collect());
    usage(format!("the model has no dimension `{place}`; {there}"))
        .with_help(format!("{FORMS}; inputs: {inputs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_separated_by_commas_that_are_not_part_of_a_name() {
        assert_eq!(pieces("h=1,w=2"), ["h=1", "w=2"]);
        assert_eq!(pieces("Min(h, 8)=1,w=2"), ["Min(h, 8)=1", "w=2"]);
        assert_eq!(pieces("h"), ["h"]);
    }
}

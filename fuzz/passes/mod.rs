//! What the target `passes_preserve_outputs` checks: simplifying a model, for whatever target, changes no output.
//!
//! The bytes are a model file, if they can be read as one; otherwise they are the choices by which [`generate`] strings
//! a small valid graph together. The tests of `tilecast-passes` include this folder and check the same on stable Rust;
//! `cargo xtask fuzz` does so for as long as it is told to.
//!
//! Reading order: [`passes_preserve_outputs`] → [`generate`] → [`oracle`].

mod builder;
mod choices;
mod generate;
mod image_steps;
mod layout_steps;
mod oracle;
mod pattern_steps;

use std::path::Path;

use tilecast_onnx::{Model, verify};
use tilecast_passes::{SimplifyOptions, TARGETS, simplify};

pub(crate) use choices::random_choices;
use oracle::{Agreement, Oracle};

/// Far from any real file, so that no reference into another file can be followed.
const PATH: &str = "no/such/folder/model.onnx";

/// Up to where the opset is raised for the fusions that need it: all of them.
const NEWER_OPSET: i64 = 21;

/// How far an input came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every target's model was run and computes the same.
    Same,
    /// The engine refuses the model as it was, so only the form of the simplified ones was checked.
    Refused(String),
    /// It was run, and small errors grow so much in it that a difference proves nothing.
    IllConditioned,
}

/// Simplifies the model that the bytes stand for, for each target, and with a newer opset: the result is valid, as simple as it gets, and has
/// the same outputs.
///
/// # Panics
/// One of these does not hold.
pub(crate) fn passes_preserve_outputs(bytes: &[u8]) -> Verdict {
    let before = match Model::decode(bytes.to_vec().into(), Path::new(PATH)) {
        Ok(model) => model,
        Err(_) => generate::model_of(bytes),
    };
    let oracle = Oracle::new(&before);
    let mut verdict = Verdict::Same;
    let as_the_target_likes = TARGETS.iter().map(|&target| (target, None));
    let newer = [(TARGETS[0], Some(NEWER_OPSET))];
    for (target, max_opset) in as_the_target_likes.chain(newer) {
        let mut after = before.clone();
        let name = format!("{} (opset {max_opset:?})", target.name);
        let options = || SimplifyOptions {
            max_opset,
            ..SimplifyOptions::for_target(target)
        };
        let report = match simplify(&mut after, options()) {
            Ok(report) => report,
            Err(error) => panic!("{name}: {error}\n{}", listing(&before)),
        };
        let context = || {
            let steps: Vec<&str> = report.steps.iter().map(|s| s.pass).collect();
            let (before, after) = (listing(&before), listing(&after));
            format!("for {name}, by {steps:?}\n-- before:\n{before}-- after:\n{after}")
        };
        let violations = verify(after.proto());
        assert!(violations.is_empty(), "{violations:?}, {}", context());
        assert!(report.reached_fixpoint(), "no fixpoint, {}", context());
        let again = simplify(&mut after.clone(), options());
        let again = again.unwrap_or_else(|error| panic!("{error}, {}", context()));
        let more: Vec<&str> = again.steps.iter().map(|s| s.pass).collect();
        assert!(more.is_empty(), "{more:?} found more, {}", context());
        match oracle.compare(&after) {
            Agreement::Same => {}
            Agreement::NotRun(reason) => verdict = Verdict::Refused(reason),
            Agreement::IllConditioned => verdict = Verdict::IllConditioned,
            Agreement::Differs(difference) => panic!("{difference}, {}", context()),
        }
    }
    verdict
}

/// A model in words, for messages.
fn listing(model: &Model) -> String {
    let graph = model.graph_proto();
    let names = |values: &[tilecast_onnx::proto::ValueInfoProto]| -> Vec<String> {
        values.iter().filter_map(|v| v.name.clone()).collect()
    };
    let mut lines = vec![format!(
        "opset {}: {:?} to {:?}",
        model.opset(),
        names(&graph.input),
        names(&graph.output)
    )];
    for node in &graph.node {
        let attributes: Vec<String> = node
            .attribute
            .iter()
            .map(|a| {
                let name = a.name.as_deref().unwrap_or_default();
                match (a.i, a.f, a.s.as_deref()) {
                    (Some(i), ..) => format!("{name}={i}"),
                    (_, Some(f), _) => format!("{name}={f}"),
                    (.., Some(s)) => format!("{name}={}", String::from_utf8_lossy(s)),
                    _ => format!("{name}={:?}", a.ints),
                }
            })
            .collect();
        lines.push(format!(
            "  {} = {}({}) {}",
            node.output.join(", "),
            node.op(),
            node.input.join(", "),
            attributes.join(" ")
        ));
    }
    for tensor in &graph.initializer {
        if let Ok(tensor) = tilecast_onnx::Tensor::from_proto(tensor).as_ref()
            && tensor.len() <= 8
            && let Some(values) = tensor
                .to_f32_vec()
                .map(|v| format!("{v:?}"))
                .or_else(|| tensor.to_i64_vec().map(|v| format!("{v:?}")))
        {
            lines.push(format!("  {:?} {values}", tensor.dims()));
        }
    }
    lines.join("\n")
}

//! The driver: order, fixpoint, stopping, dumping.

use tilecast_passes::{CLEANUP, Ended, FUSIONS, SimplifyOptions, TARGETS, simplify};

use crate::common::{Case, float, ints, listing, op, sample};

fn options() -> SimplifyOptions<'static> {
    SimplifyOptions::for_target(TARGETS[0])
}

#[test]
fn passes_that_open_ways_for_each_other_reach_a_fixpoint() {
    // The product of constants makes a 1, the multiplication by it goes, and two branches become equal.
    let case = Case::new(vec![
        op("Mul", &["half", "two"], &["one"]),
        op("Mul", &["x", "one"], &["a"]),
        op("Relu", &["a"], &["b"]),
        op("Relu", &["x"], &["c"]),
        op("Add", &["b", "c"], &["y"]),
    ])
    .constant("half", float(0.5))
    .constant("two", float(2.0));
    let mut model = case.model();
    let report = simplify(&mut model, options()).unwrap();
    assert_eq!(listing(&model), ["Relu(x) -> b", "Add(b, b) -> y"]);
    assert_eq!(model.graph_proto().initializer.len(), 0);
    assert_eq!(report.nodes, [5, 2]);
    assert!(report.reached_fixpoint());
    let again = simplify(&mut model, options()).unwrap();
    assert!(again.steps.is_empty() && again.reached_fixpoint());
}

#[test]
fn it_stops_after_the_step_that_it_is_told_and_shows_each() {
    let mut whole = sample("nafnet-denoise");
    let mut shown = Vec::new();
    let mut dump = |step: usize, pass: &'static str, model: &tilecast_onnx::Model| {
        shown.push((step, pass, model.graph_proto().node.len()));
    };
    let report = simplify(
        &mut whole,
        SimplifyOptions {
            dump: Some(&mut dump),
            ..options()
        },
    )
    .unwrap();
    let expected: Vec<_> = report
        .steps
        .iter()
        .enumerate()
        .map(|(i, step)| (i + 1, step.pass, step.nodes[1]))
        .collect();
    assert_eq!(shown, expected);
    for n in 0..=report.steps.len() {
        let mut model = sample("nafnet-denoise");
        let stopped = simplify(
            &mut model,
            SimplifyOptions {
                stop_after: Some(n),
                ..options()
            },
        )
        .unwrap();
        assert_eq!(stopped.steps.len(), n);
        assert_eq!(stopped.ended, Ended::Stopped, "{n}");
        let nodes = if n == 0 { 851 } else { expected[n - 1].2 };
        assert_eq!(model.graph_proto().node.len(), nodes);
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let simplified = || {
        let mut model = sample("exports/swinir-ts17");
        simplify(&mut model, options()).unwrap();
        model.to_bytes()
    };
    assert!(simplified() == simplified());
}

#[test]
fn every_pass_has_its_place_once() {
    let mut ids: Vec<&str> = CLEANUP
        .iter()
        .chain(FUSIONS)
        .filter_map(|entry| (entry.pass)(TARGETS[0]))
        .map(|pass| pass.meta().id)
        .collect();
    let n = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), n);
    assert!(CLEANUP.iter().all(|entry| !entry.reason.is_empty()));
}

/// Chains that take exponential time, or time in the square of their length, where operands are walked again from each use.
#[test]
fn long_chains_end() {
    const LENGTH: usize = 20_000;
    let name = |i: usize| format!("v{i}");
    let mut copies: Vec<_> = (0..LENGTH)
        .map(|i| {
            let from = if i == 0 { "x".to_owned() } else { name(i - 1) };
            op("Identity", &[&from], &[&name(i)])
        })
        .collect();
    copies.push(op("Relu", &[&name(LENGTH - 1)], &["y"]));
    let mut model = Case::new(copies).model();
    simplify(&mut model, options()).unwrap();
    assert_eq!(listing(&model), ["Relu(x) -> y"]);

    // v(i) = (v(i-1) + v(i-2)) mod 7, from height and width.
    let mut sizes = vec![
        op("Shape", &["x"], &["s"]),
        op("Gather", &["s", "two"], &["v0"]),
        op("Gather", &["s", "three"], &["v1"]),
    ];
    for i in 2..2000 {
        let sum = format!("s{i}");
        sizes.push(op("Add", &[&name(i - 1), &name(i - 2)], &[&sum]));
        let op_type = ["Mod", "Div", "Mul"][i % 3];
        sizes.push(op(op_type, &[&sum, "seven"], &[&name(i)]));
    }
    sizes.push(op("Expand", &["x", &name(1999)], &["y"]));
    let n_nodes = sizes.len();
    let mut model = Case::new(sizes)
        .constant("two", ints(&[2]))
        .constant("three", ints(&[3]))
        .constant("seven", ints(&[7]))
        .model();
    let report = simplify(&mut model, options()).unwrap();
    assert!(report.reached_fixpoint());
    assert!(report.nodes[1] <= n_nodes);
}

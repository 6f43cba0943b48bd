//! GELU and hard swish.

use crate::common::Network;
use tilecast_passes::{FuseGelu, FuseHardSwish};

/// The constants of GELU, with those that a case changes.
fn gelu_constants() -> Network {
    Network::of_image(3)
        .opset(20)
        .scalar("sqrt2", std::f32::consts::SQRT_2)
        .scalar("inv_sqrt2", std::f32::consts::FRAC_1_SQRT_2)
        .scalar("one", 1.0)
        .floats("half", &[1], &[0.5])
}

impl Network {
    fn erf_of(self, scaled: (&str, &str)) -> Self {
        self.node(scaled.0, &["x", scaled.1], &["d"])
            .node("Erf", &["d"], &["e"])
            .node("Add", &["e", "one"], &["a"])
    }
}

#[test]
fn gelu_with_erf_in_every_order_of_factors() {
    for scaled in [("Div", "sqrt2"), ("Mul", "inv_sqrt2")] {
        gelu_constants()
            .erf_of(scaled)
            .node("Mul", &["x", "a"], &["m"])
            .node("Mul", &["m", "half"], &["y"])
            .without_unread()
            .becomes(&FuseGelu, &["Gelu"]);
        gelu_constants()
            .erf_of(scaled)
            .node("Mul", &["half", "a"], &["m"])
            .node("Mul", &["x", "m"], &["y"])
            .without_unread()
            .becomes(&FuseGelu, &["Gelu"]);
        gelu_constants()
            .node("Mul", &["x", "half"], &["h"])
            .erf_of(scaled)
            .node("Mul", &["h", "a"], &["y"])
            .without_unread()
            .becomes(&FuseGelu, &["Gelu"]);
    }
}

fn tanh_form(cube: &str) -> Network {
    let network = gelu_constants()
        .scalar("cubic", 0.044_715)
        .scalar("root", 0.797_884_6)
        .scalar("three", 3.0);
    let network = if cube == "Pow" {
        network.node("Pow", &["x", "three"], &["c"])
    } else {
        network
            .node("Mul", &["x", "x"], &["q"])
            .node("Mul", &["x", "q"], &["c"])
    };
    network
        .node("Mul", &["cubic", "c"], &["k"])
        .node("Add", &["x", "k"], &["s"])
        .node("Mul", &["s", "root"], &["r"])
        .node("Tanh", &["r"], &["t"])
        .node("Add", &["one", "t"], &["a"])
        .node("Mul", &["x", "half"], &["h"])
        .node("Mul", &["h", "a"], &["y"])
        .without_unread()
}

#[test]
fn gelu_with_tanh() {
    for cube in ["Pow", "Mul"] {
        let after = tanh_form(cube).becomes(&FuseGelu, &["Gelu"]);
        let gelu = &after.graph_proto().node[0];
        assert_eq!(gelu.string("approximate").unwrap(), Some("tanh"));
    }
}

#[test]
fn gelu_near_misses_are_declined_with_their_reason() {
    let erf = |network: Network| {
        network
            .erf_of(("Div", "sqrt2"))
            .node("Mul", &["x", "a"], &["m"])
            .node("Mul", &["m", "half"], &["y"])
    };
    erf(gelu_constants().opset(19)).declined(&FuseGelu, "Gelu needs opset 20, the model has 19");
    erf(gelu_constants())
        .output("a")
        .declined(&FuseGelu, "`a` is an output of the graph");
    gelu_constants()
        .erf_of(("Div", "sqrt2"))
        .node("Mul", &["x", "a"], &["m"])
        .node("Mul", &["m", "half"], &["g"])
        .node("Add", &["g", "e"], &["y"])
        .declined(&FuseGelu, "`e` is read outside of the pattern too");
    let with = |sqrt2: f32, one: f32, half: f32| {
        Network::of_image(3)
            .opset(20)
            .scalar("sqrt2", sqrt2)
            .scalar("one", one)
            .scalar("half", half)
    };
    let root = std::f32::consts::SQRT_2;
    erf(with(1.41, 1.0, 0.5)).declined(
        &FuseGelu,
        "a constant beside Erf is 1.41, GELU has 1.4142135623730951",
    );
    erf(with(root, 2.0, 0.5)).declined(&FuseGelu, "a summand is 2, GELU has 1");
    erf(with(root, 1.0, 0.25)).declined(&FuseGelu, "a factor is 0.25, GELU has 0.5");
    tanh_form("Pow")
        .opset(17)
        .declined(&FuseGelu, "Gelu needs opset 20, the model has 17");
}

#[test]
fn an_error_function_that_is_no_gelu_is_left_alone() {
    gelu_constants()
        .erf_of(("Div", "sqrt2"))
        .node("Relu", &["a"], &["y"])
        .ignored(&FuseGelu);
    Network::of_image(3)
        .opset(20)
        .node("Tanh", &["x"], &["y"])
        .ignored(&FuseGelu);
}

fn clip_constants() -> Network {
    Network::of_image(3)
        .scalar("three", 3.0)
        .scalar("zero", 0.0)
        .scalar("six", 6.0)
        .scalar("sixth", 1.0 / 6.0)
        .node("Add", &["x", "three"], &["a"])
        .node("Clip", &["a", "zero", "six"], &["c"])
}

#[test]
fn hard_swish_in_every_form() {
    let fused = |network: Network| {
        network
            .without_unread()
            .becomes(&FuseHardSwish, &["HardSwish"]);
    };
    fused(
        Network::of_image(3)
            .node("HardSigmoid", &["x"], &["s"])
            .float("alpha", 1.0 / 6.0)
            .node("Mul", &["x", "s"], &["y"]),
    );
    fused(
        clip_constants()
            .node("Mul", &["x", "c"], &["m"])
            .node("Div", &["m", "six"], &["y"]),
    );
    fused(
        clip_constants()
            .node("Div", &["c", "six"], &["g"])
            .node("Mul", &["g", "x"], &["y"]),
    );
    fused(
        clip_constants()
            .node("Mul", &["sixth", "c"], &["g"])
            .node("Mul", &["x", "g"], &["y"]),
    );
}

#[test]
fn hard_swish_near_misses_are_declined_with_their_reason() {
    Network::of_image(3)
        .node("HardSigmoid", &["x"], &["s"])
        .node("Mul", &["x", "s"], &["y"])
        .declined(
            &FuseHardSwish,
            "its gate is 0.2 * x + 0.5, hard swish has 1/6 * x + 0.5",
        );
    clip_constants()
        .opset(13)
        .node("Mul", &["x", "c"], &["m"])
        .node("Div", &["m", "six"], &["y"])
        .declined(&FuseHardSwish, "HardSwish needs opset 14, the model has 13");
    clip_constants()
        .node("Mul", &["x", "c"], &["m"])
        .node("Div", &["m", "three"], &["y"])
        .declined(
            &FuseHardSwish,
            "it is x * clip(x + 3, 0, 6) * 0.3333333333333333, hard swish has 3, 0, 6 and 1/6",
        );
    clip_constants()
        .output("c")
        .node("Mul", &["x", "c"], &["m"])
        .node("Div", &["m", "six"], &["y"])
        .declined(&FuseHardSwish, "`c` is an output of the graph");
    Network::of_image(3)
        .node("HardSigmoid", &["x"], &["s"])
        .float("alpha", 1.0 / 6.0)
        .node("Mul", &["x", "s"], &["m"])
        .node("Add", &["m", "s"], &["y"])
        .declined(&FuseHardSwish, "`s` is read outside of the pattern too");
}

#[test]
fn a_gate_on_another_value_is_no_hard_swish() {
    Network::of_image(3)
        .node("Relu", &["x"], &["r"])
        .node("HardSigmoid", &["x"], &["s"])
        .float("alpha", 1.0 / 6.0)
        .node("Mul", &["r", "s"], &["y"])
        .ignored(&FuseHardSwish);
}

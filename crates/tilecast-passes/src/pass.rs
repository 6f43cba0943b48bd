//! What a pass is, and the driver that applies what it proposes.

use std::cell::OnceCell;
use std::fmt;

use schemars::JsonSchema;
use tilecast_onnx::{ApplyError, Facts, Graph, InputExtents, Model, NodeId, Patch, Tensor};

/// What a rewrite may do to the numbers; decides which tests a pass owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// The same bits.
    Exact,
    /// The same real-valued function in another order of operations.
    Reassociates,
    /// Another function, on purpose; its error is measured.
    Lossy,
}

/// Facts about a pass that do not depend on its parameters.
#[derive(Debug)]
pub struct PassMeta {
    /// Stable `snake_case` id, used in recipes, logs, documentation and test names.
    pub id: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it may do to the numbers.
    pub numerics: Numerics,
    /// What it does, why, its preconditions and references; Markdown.
    pub explanation: &'static str,
}

/// A graph rewrite. The struct that implements it holds the parameters.
pub trait Pass: fmt::Debug {
    /// The pass's fixed facts.
    fn meta(&self) -> &'static PassMeta;

    /// Proposes a rewrite of `graph`.
    ///
    /// # Errors
    /// The graph holds something that the pass must handle and cannot, by node. A place that it may leave alone is
    /// declined through `cx` instead.
    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError>;
}

/// What a pass proposes.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// There is nothing to rewrite.
    Unchanged,
    /// A rewrite.
    Rewrite(Box<Patch>),
}

impl Outcome {
    /// This rewrite, where it changes anything.
    pub(crate) fn of(patch: Patch) -> Self {
        if patch.is_empty() {
            Self::Unchanged
        } else {
            Self::Rewrite(Box::new(patch))
        }
    }
}

/// A place that a pass left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
pub struct Decline {
    /// Path of the node.
    pub node: String,
    /// Why it was left alone.
    pub reason: String,
}

/// What a pass may know besides the graph, and where it reports.
#[derive(Debug)]
pub struct PassContext {
    opset: i64,
    ir_version: i64,
    inputs: InputExtents,
    facts: OnceCell<Facts>,
    declines: Vec<Decline>,
}

impl PassContext {
    fn of(model: &Model, inputs: &InputExtents) -> Self {
        Self {
            opset: model.opset(),
            ir_version: model.proto().ir_version.unwrap_or_default(),
            inputs: inputs.clone(),
            facts: OnceCell::new(),
            declines: Vec::new(),
        }
    }

    /// Opset version of the default domain.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Version of the model's IR.
    #[must_use]
    pub fn ir_version(&self) -> i64 {
        self.ir_version
    }

    /// The constant behind a value that no caller of the model can replace: an initializer that is no graph input, or
    /// the value of a `Constant` node. `None` too where the payload cannot be read.
    ///
    /// An initializer that is a graph input as well is only a default since IR version 4. Before, every initializer had
    /// to be listed among the inputs, and runtimes take it for a constant.
    #[must_use]
    pub fn constant(&self, graph: &Graph<'_>, value: &str) -> Option<Tensor> {
        if graph.is_default_only(value, self.ir_version) {
            return None;
        }
        graph.constant(value).ok().flatten()
    }

    /// Shapes, element types and shape arithmetic of `graph`, which is the one the pass was given. Computed on first use.
    pub fn facts(&self, graph: &Graph<'_>) -> &Facts {
        self.facts
            .get_or_init(|| Facts::of(graph, self.ir_version, &self.inputs))
    }

    /// Records that a node was left alone.
    pub fn decline(&mut self, graph: &Graph<'_>, node: NodeId, reason: impl Into<String>) {
        self.declines.push(Decline {
            node: graph.path(node),
            reason: reason.into(),
        });
    }
}

/// What one run of a pass did.
#[derive(Clone, Debug, serde::Serialize, JsonSchema)]
pub struct PassReport {
    /// Id of the pass.
    pub pass: &'static str,
    /// Whether the graph was changed.
    pub changed: bool,
    /// Nodes before and after.
    pub nodes: [usize; 2],
    /// Places left alone.
    pub declined: Vec<Decline>,
}

/// A pass that could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("pass `{pass}`: {reason}")]
pub struct PassError {
    pass: &'static str,
    reason: String,
}

impl PassError {
    /// An error of this pass at this node.
    #[must_use]
    pub fn at(meta: &'static PassMeta, path: &str, reason: impl fmt::Display) -> Self {
        Self {
            pass: meta.id,
            reason: format!("{path}: {reason}"),
        }
    }
}

/// Runs a pass and applies its patch; the model is verified afterwards and unchanged on error.
///
/// # Errors
/// The pass's own error, or [`ApplyError`] wrapped with the pass's id where it proposed an invalid graph.
pub fn run_pass(pass: &dyn Pass, model: &mut Model) -> Result<PassReport, PassError> {
    run_pass_with(pass, model, &InputExtents::default())
}

/// As [`run_pass`], with input extents other than the graph declares.
///
/// # Errors
/// As [`run_pass`].
pub fn run_pass_with(
    pass: &dyn Pass,
    model: &mut Model,
    inputs: &InputExtents,
) -> Result<PassReport, PassError> {
    let meta = pass.meta();
    let mut cx = PassContext::of(model, inputs);
    let before = model.graph_proto().node.len();
    let outcome = pass.run(&model.graph(), &mut cx)?;
    let changed = match outcome {
        Outcome::Rewrite(patch) if !patch.is_empty() => {
            patch.apply(model).map_err(|e: ApplyError| PassError {
                pass: meta.id,
                reason: e.to_string(),
            })?;
            true
        }
        Outcome::Rewrite(_) | Outcome::Unchanged => false,
    };
    let nodes = [before, model.graph_proto().node.len()];
    Ok(PassReport {
        pass: meta.id,
        changed,
        nodes,
        declined: cx.declines,
    })
}

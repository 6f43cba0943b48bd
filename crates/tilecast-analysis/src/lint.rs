//! The lint: what makes a tiled run differ from the run over the whole image (codes H), what does not survive 16-bit floats
//! (codes P), and what to do about it.
//!
//! One rule, one file under `rules/`, one line in [`RULES`]. A rule reads the graph and what is known of it
//! ([`LintContext`]) and reports [`Finding`]s; it never fails.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Model, NodeId, ShapeMap, declared_extents};

use crate::halo::layout::Layout;
use crate::halo::period::period_bound;
use crate::halo::probe::{Probes, shapes_at};
use crate::halo::trace::Trace;
use crate::halo::{Derivation, TilingAnalysis, TilingClass, declared_size};
use crate::{AnalyzeError, RULES};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Tiles are wrong at any tile size.
    Error,
    /// Tiles take statistics from themselves instead of the whole image: results are approximate.
    Warning,
    /// A fact that a tiler must know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// What a rule is about.
#[derive(Clone, Copy, Debug)]
pub struct RuleMeta {
    /// Stable code, such as `H21`.
    pub code: &'static str,
    /// Stable `snake_case` name; the rule's file is called so.
    pub name: &'static str,
    /// Severity of all its findings.
    pub severity: Severity,
    /// One line.
    pub summary: &'static str,
    /// Markdown: why, whether overlap helps, what to do.
    pub explanation: &'static str,
}

/// A check of one hazard.
pub trait Rule: Sync {
    /// What the rule is about.
    fn meta(&self) -> &'static RuleMeta;

    /// Appends what it finds, in graph order.
    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>);
}

/// One occurrence of a hazard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Code of the rule.
    pub code: &'static str,
    /// Severity of the rule.
    pub severity: Severity,
    /// Name of the node, its path where it has none, or the name of the graph where all of it is meant.
    pub node: String,
    /// What is wrong, and why.
    pub message: String,
    /// What to do next.
    pub help: String,
}

impl Finding {
    /// Whether it is about running in tiles; the others are about precision.
    #[must_use]
    pub fn is_about_tiles(&self) -> bool {
        self.code.starts_with('H')
    }
}

/// What rules may look at.
pub struct LintContext<'a> {
    model: &'a Model,
    graph: Graph<'a>,
    derivation: Option<Derivation<'a>>,
    /// Shapes where there is no derivation to take them from.
    fallback: Option<Probes>,
    tiling: Result<TilingAnalysis, AnalyzeError>,
}

impl<'a> LintContext<'a> {
    fn new(model: &'a Model) -> Self {
        let graph = model.graph();
        let (derivation, tiling) = match Derivation::new(model) {
            Ok(derivation) => {
                let tiling = derivation.analysis(model);
                (Some(derivation), Ok(tiling))
            }
            Err(error) => (None, Err(error)),
        };
        let shapes = || {
            period_bound(&graph)
                .and_then(|px| Probes::new(&graph, px))
                .ok()
        };
        Self {
            model,
            fallback: if derivation.is_none() { shapes() } else { None },
            graph,
            derivation,
            tiling,
        }
    }

    fn probes(&self) -> Option<&Probes> {
        self.derivation
            .as_ref()
            .map(|d| &d.probes)
            .or(self.fallback.as_ref())
    }

    fn trace(&self) -> Option<&Trace<'a>> {
        self.derivation.as_ref().map(|d| &d.trace)
    }

    /// How a value holds pixels, where that is known and it does.
    pub(crate) fn layout(&self, value: &str) -> Option<&Layout> {
        self.trace()?.layouts.get(value)
    }

    /// Dimensions of a value for two images, where they are known.
    pub(crate) fn extents(&self, value: &str) -> Option<Vec<[usize; 2]>> {
        self.probes()?.extents(value)
    }

    /// Nodes that read more than a neighbourhood and put the graph in this class, in graph order.
    pub(crate) fn global_nodes(&self, class: TilingClass) -> Vec<NodeId> {
        let global = self
            .trace()
            .map(|t| t.global.as_slice())
            .unwrap_or_default();
        let mut nodes: Vec<NodeId> = global
            .iter()
            .filter(|&&(_, c)| c == class)
            .map(|&(id, _)| id)
            .collect();
        nodes.sort_by_key(|id| id.0);
        nodes.dedup();
        nodes
    }

    /// Products that mix the positions of a window, and the window in image pixels, rows and columns.
    pub(crate) fn windows(&self) -> &[(NodeId, [u64; 2])] {
        self.trace()
            .map(|t| t.windows.as_slice())
            .unwrap_or_default()
    }

    /// Reshapes that turn blocks of rows and columns into channels.
    pub(crate) fn unshuffles(&self) -> &[(NodeId, [u64; 2])] {
        self.trace()
            .map(|t| t.unshuffles.as_slice())
            .unwrap_or_default()
    }

    /// Shapes at the height and width that the model declares, where both are fixed.
    pub(crate) fn fixed_shapes(&self) -> Option<ShapeMap> {
        shapes_at(&self.graph, declared_size(&self.graph)?).ok()
    }

    /// Whether the model takes one image at a time.
    pub(crate) fn is_single_image(&self) -> bool {
        let mut inputs = self.graph.inputs();
        inputs.all(|input| match declared_extents(input).as_deref() {
            Some([batch, _, _, _]) => *batch == Some(1),
            _ => true,
        })
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Graph<'a> {
        &self.graph
    }

    /// Opset version of the default domain.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.model.opset()
    }

    /// Halo, alignment and the like, or why they are not known.
    ///
    /// # Errors
    /// As [`analyze`].
    pub fn tiling(&self) -> Result<&TilingAnalysis, &AnalyzeError> {
        self.tiling.as_ref()
    }

    /// Nodes of the default domain with this operator, in graph order.
    pub fn nodes_of<'s>(
        &'s self,
        ops: &'s [&str],
    ) -> impl Iterator<Item = (NodeId, &'a NodeProto)> + 's {
        self.graph
            .nodes()
            .filter(move |(_, node)| node.domain_name().is_empty() && ops.contains(&node.op()))
    }

    /// Number of axes of a value, where it is known.
    #[must_use]
    pub fn rank(&self, value: &str) -> Option<usize> {
        Some(self.probes()?.small.shape(value)?.len())
    }

    /// Whether an axis of a value holds rows or columns of the image: its extent follows the image.
    ///
    /// Where shapes are not known, the layout [N, C, rows, columns] is assumed.
    #[must_use]
    pub fn is_position_axis(&self, value: &str, axis: usize) -> bool {
        match self.varying_axes(value) {
            Some(axes) => axes.contains(&axis),
            None => axis == 2 || axis == 3,
        }
    }

    /// Whether a value has rows or columns of the image, as far as is known.
    #[must_use]
    pub fn has_positions(&self, value: &str) -> bool {
        self.varying_axes(value).is_none_or(|axes| !axes.is_empty())
    }

    fn varying_axes(&self, value: &str) -> Option<Vec<usize>> {
        // What depends on no pixel has no positions, whatever its size.
        if self.trace().is_some_and(|t| !t.layouts.contains_key(value)) {
            return Some(Vec::new());
        }
        self.probes()?.varying_axes(value)
    }

    /// Integers of a value that do not depend on the size of the image.
    #[must_use]
    pub fn constant_integers(&self, value: &str) -> Option<Vec<i64>> {
        if let Some(probes) = self.probes() {
            return probes.constant_integers(value).map(<[i64]>::to_vec);
        }
        self.graph.constant(value).ok()??.to_i64_vec()
    }

    /// Name of a node, or its path where it has none.
    #[must_use]
    pub fn label(&self, id: NodeId) -> String {
        match self.graph.node(id).label() {
            "" => self.graph.path(id),
            name => name.to_owned(),
        }
    }

    /// Name of the graph, for findings about all of it.
    #[must_use]
    pub fn graph_label(&self) -> String {
        match self.graph.proto().name.as_deref() {
            None | Some("") => "graph".to_owned(),
            Some(name) => name.to_owned(),
        }
    }
}

impl RuleMeta {
    /// A finding of this rule.
    #[must_use]
    pub fn finding(
        &self,
        node: String,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding {
            code: self.code,
            severity: self.severity,
            node,
            message: message.into(),
            help: help.into(),
        }
    }
}

/// All findings of a model: errors first, then warnings, then notes; each in the order of [`RULES`] and of the graph.
#[must_use]
pub fn lint(model: &Model) -> Vec<Finding> {
    let cx = LintContext::new(model);
    let mut report = Vec::new();
    for rule in RULES {
        rule.check(&cx, &mut report);
    }
    report.sort_by_key(|finding| finding.severity);
    report
}

/// What the rules are about, in their order.
pub fn rules() -> impl Iterator<Item = &'static RuleMeta> {
    RULES.iter().map(|rule| rule.meta())
}

/// The rule with this code or name; upper and lower case alike.
#[must_use]
pub fn explain(code: &str) -> Option<&'static RuleMeta> {
    rules().find(|r| r.code.eq_ignore_ascii_case(code) || r.name.eq_ignore_ascii_case(code))
}

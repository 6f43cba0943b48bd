//! A model whose means over the whole image are means over a window: another network, which tiles suit.

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_analysis::{TilingAnalysis, analyze};
use tilecast_onnx::Model;
use tilecast_passes::{Decline, PoolInWindows, run_pass};

use crate::{Failure, FailureKind};

/// What was made of the means over the whole image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WindowFacts {
    /// Side of the window, pixels of the image.
    pub window_px: usize,
    /// Means that are over a window now.
    pub nodes: usize,
    /// Nodes that look at the whole image and go on doing so, and why.
    pub left_out: Vec<Decline>,
}

/// A model that looks at windows.
#[derive(Clone, Debug)]
pub(crate) struct Windowed {
    pub(crate) model: Model,
    pub(crate) analysis: TilingAnalysis,
    pub(crate) facts: WindowFacts,
}

impl Windowed {
    /// A copy of `model`, which `analysis` is about, with windows of this side in the place of the whole image; `None` where nothing in it looks at
    /// the whole image.
    ///
    /// # Errors
    /// Something does, and none of it is a mean that a window could take the place of.
    pub(crate) fn of(
        model: &Model,
        analysis: &TilingAnalysis,
        window_px: usize,
    ) -> Result<Option<Self>, Failure> {
        if analysis.tiling_class.is_exact() {
            return Ok(None);
        }
        let (windowed, declined) = pooled_in_windows(model, analysis.alignment_px, window_px)?;
        let nodes = windowed.graph_proto().node.len() - model.graph_proto().node.len();
        if nodes == 0 {
            let node = analysis.global_nodes.first().map_or("", String::as_str);
            let reason = declined.iter().find(|d| d.node == node);
            let reason = reason.map_or("it is no mean over rows and columns", |d| &d.reason);
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "`{}`: no node that looks at the whole image can look at a window; the first, {node}: {reason}",
                    model.path().display()
                ),
            )
            .with_help("sweep the statistics instead (`{sweeps: auto}`), or leave them to the tile (`local`)"));
        }
        let found = analyze(&windowed)?;
        let left_out = found.global_nodes.iter().map(|node| {
            let known = declined.iter().find(|d| d.node == *node);
            known.cloned().unwrap_or_else(|| Decline {
                node: node.clone(),
                reason: "it is no mean over rows and columns".to_owned(),
            })
        });
        Ok(Some(Self {
            facts: WindowFacts {
                window_px,
                nodes,
                left_out: left_out.collect(),
            },
            model: windowed,
            analysis: found,
        }))
    }
}

/// A copy of a model with windows in the place of the whole image, and the nodes that stay as they are.
///
/// # Errors
/// The model is not one of a single image.
pub(crate) fn pooled_in_windows(
    model: &Model,
    alignment_px: usize,
    window_px: usize,
) -> Result<(Model, Vec<Decline>), Failure> {
    let mut windowed = model.clone();
    let pass = PoolInWindows {
        window_px,
        alignment_px,
    };
    let report = run_pass(&pass, &mut windowed)?;
    Ok((windowed, report.declined))
}

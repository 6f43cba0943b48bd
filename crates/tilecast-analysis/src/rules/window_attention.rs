//! H28: attention inside windows.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H28.
pub(super) struct WindowAttention;

const EXPLANATION: &str = "\
**Why.** The image is cut into windows from its corner, and positions attend to those of their window only, also where every second layer
shifts the windows. A tile whose origin is not a multiple of the window cuts all windows at other places. A shift wraps the
border around; the mask that takes such pairs out is computed from the size, and was checked to do just that.

**Does overlap help?** At aligned origins yes, completely: the halo that is derived includes the windows. At others not a single pixel is equal.

**What to do.** Place tiles at multiples of the alignment period, which includes the window.
";

static META: RuleMeta = RuleMeta {
    code: "H28",
    name: "window_attention",
    severity: Severity::Note,
    summary: "Attention inside windows: tiles must not cut them.",
    explanation: EXPLANATION,
};

impl Rule for WindowAttention {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        // One finding for all products of a block would say nothing more.
        let mut windows: Vec<[u64; 2]> = Vec::new();
        for &(id, window) in cx.windows() {
            if !windows.contains(&window) {
                windows.push(window);
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "from here on, positions attend to those of their window of {}x{} image pixels",
                        window[1], window[0]
                    ),
                    "let the tiler align its grid to the windows; overlap cannot repair a misaligned one",
                ));
            }
        }
    }
}

//! Passes that change what a model computes, so that it can run in tiles: nothing uses them unless it is asked to.
//!
//! Simplification never does what is done here: its passes are checked by running the model before and after. A mitigation is
//! judged by what it costs, which whoever asks for it is told.

mod freeze_batch_norm;
mod make_resize_explicit;
mod open_size;
mod pool_in_windows;

use std::fmt;

pub use freeze_batch_norm::FreezeBatchNorm;
pub use make_resize_explicit::MakeResizeExplicit;
pub use open_size::OpenSize;
pub use pool_in_windows::PoolInWindows;

pub(crate) use freeze_batch_norm::META as FREEZE_BATCH_NORM;
pub(crate) use make_resize_explicit::META as MAKE_RESIZE_EXPLICIT;
pub(crate) use open_size::META as OPEN_SIZE;
pub(crate) use pool_in_windows::META as POOL_IN_WINDOWS;

use crate::Pass;

/// A pass that repairs what a rule of the lint finds.
#[derive(Clone, Copy)]
pub struct Mitigation {
    /// Code of the rule.
    pub code: &'static str,
    /// Makes the pass.
    pub pass: fn() -> Box<dyn Pass>,
}

impl fmt::Debug for Mitigation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mitigation")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// What can be repaired without a parameter, in the order of the codes.
pub const MITIGATIONS: &[Mitigation] = &[
    Mitigation {
        code: "H09",
        pass: || Box::new(MakeResizeExplicit),
    },
    Mitigation {
        code: "H16",
        pass: || Box::new(FreezeBatchNorm),
    },
    Mitigation {
        code: "H35",
        pass: || Box::new(OpenSize),
    },
];

//! Image quality metrics: PSNR, SSIM, CIEDE2000, SSIMULACRA2 and the visibility of seams. Pure functions.
//!
//! The definitions are those of `docs/numerics.md`. Every sum runs in a fixed order in `f64`, so a metric does
//! not depend on threads. Values that are not finite never turn into a number that looks like quality: they
//! give `None` or an error.
//!
//! ```
//! use tilecast_metrics::{PsnrSummary, SquaredError};
//!
//! let mut error = SquaredError::new();
//! error.add(&[0.0, 0.5, 1.0], &[0.0, 0.5, 0.9])?;
//! let summary = PsnrSummary::from_images(&[error], 1.0).expect("finite images");
//! assert!((summary.mean - 24.77).abs() < 0.01);
//! # Ok::<(), tilecast_metrics::CompareError>(())
//! ```

mod delta_e;
mod psnr;
mod seam;
mod ssim;
mod ssimulacra2;

pub use delta_e::{DeltaESummary, Lab, delta_e, delta_e_2000};
pub use psnr::{
    CompareError, OutputRange, OutputRangeError, PSNR_IDENTICAL_DB, PsnrSummary, SquaredError,
    psnr_db,
};
pub use seam::{OverlapDisagreement, SeamGradient, overlap_disagreement, seam_gradient};
pub use ssim::{MeasureSsimError, PlanarShape, SSIM_WINDOW_PX, SsimSummary, ssim};
pub use ssimulacra2::{SSIMULACRA2_MAX_PX, Ssimulacra2Summary, ssimulacra2};

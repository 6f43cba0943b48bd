//! `tilecast explain`.

use tilecast::Failure;

use crate::printer::Output;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rule code or pass id, as lint and reports name them.
    code: String,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Output, Failure> {
        Ok(Output::success(tilecast::explain(&self.code)?))
    }
}

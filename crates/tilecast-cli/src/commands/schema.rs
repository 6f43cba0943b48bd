//! `tilecast schema`.

use tilecast::Failure;
use tilecast::recipe::json_schema;

use crate::printer::Output;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast schema > tilecast.schema.json")]
pub(crate) struct Arguments {
    /// Without effect: a schema is JSON.
    #[arg(long, hide = true)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<Output, Failure> {
        Ok(Output::success(json_schema()))
    }
}

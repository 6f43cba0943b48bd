//! `tilecast schema`.

use tilecast::recipe::json_schema;

use crate::printer::Output;

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast schema > tilecast.schema.json")]
pub(crate) struct Arguments {}

impl Arguments {
    /// The schema, which is JSON whatever is asked for.
    pub(super) fn run() -> Output {
        Output::success(json_schema())
    }
}

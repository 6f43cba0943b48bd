//! `tilecast explain`.

use serde::Serialize;
use tilecast::Failure;

use super::json;
use crate::printer::Output;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast explain H21")]
pub(crate) struct Arguments {
    /// Rule code or pass id, as lint and reports name them.
    code: String,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Explanation {
    schema: &'static str,
    code: String,
    /// Markdown.
    text: String,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Output, Failure> {
        let text = tilecast::explain(&self.code)?;
        if !self.json {
            return Ok(Output::success(text));
        }
        let explanation = Explanation {
            schema: "tilecast.explain/1",
            code: self.code,
            text,
        };
        Ok(Output::success(json(&explanation)?))
    }
}

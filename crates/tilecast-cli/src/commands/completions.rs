//! `tilecast completions`.

use clap::CommandFactory;
use clap_complete::Shell;
use tilecast::{Failure, FailureKind};

use crate::printer::Output;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tilecast completions bash > ~/.local/share/bash-completion/completions/tilecast"
)]
pub(crate) struct Arguments {
    /// Shell that completes: bash, elvish, fish, powershell or zsh.
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<Output, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::Arguments::command(),
            "tilecast",
            &mut script,
        );
        let text = String::from_utf8(script).map_err(|e| {
            Failure::new(FailureKind::Internal, format!("the script is no text: {e}"))
        })?;
        Ok(Output::success(text))
    }
}

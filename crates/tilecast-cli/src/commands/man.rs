//! `tilecast man`.

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde::Serialize;
use tilecast::{Failure, FailureKind};

use super::json;
use crate::printer::Output;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast man ~/.local/share/man/man1")]
pub(crate) struct Arguments {
    /// Folder for a page per verb; without it the page of the program is printed.
    folder: Option<PathBuf>,
    /// Print one JSON document, the list of the files.
    #[arg(long, requires = "folder")]
    json: bool,
}

/// Pages that were written.
#[derive(Debug, Serialize)]
struct Written {
    schema: &'static str,
    paths: Vec<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Output, Failure> {
        let mut command = crate::Arguments::command();
        command.build();
        let Some(folder) = self.folder else {
            let page = page(command).map_err(|error| {
                Failure::new(
                    FailureKind::Internal,
                    format!("cannot write the page: {error}"),
                )
            })?;
            return Ok(Output::success(page));
        };
        let fail = |path: &Path, error: &io::Error| {
            let message = format!("cannot write `{}`: {error}", path.display());
            Failure::new(FailureKind::Io, message)
        };
        std::fs::create_dir_all(&folder).map_err(|e| fail(&folder, &e))?;
        let mut paths = Vec::new();
        for (name, command) in pages(command) {
            let path = folder.join(format!("{name}.1"));
            let text = page(command).map_err(|e| fail(&path, &e))?;
            std::fs::write(&path, text).map_err(|e| fail(&path, &e))?;
            paths.push(path.display().to_string());
        }
        Ok(Output::success(if self.json {
            json(&Written {
                schema: "tilecast.man/1",
                paths,
            })?
        } else {
            paths.join("\n") + "\n"
        }))
    }
}

/// The program and its verbs, each with the name of its page.
fn pages(command: clap::Command) -> Vec<(String, clap::Command)> {
    let verbs: Vec<_> = command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
        .map(|verb| {
            // Its own name for itself is that with the program's before it.
            (format!("tilecast-{}", verb.get_name()), verb.clone())
        })
        .collect();
    let mut pages = vec![("tilecast".to_owned(), command)];
    pages.extend(verbs);
    pages
}

fn page(command: clap::Command) -> io::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}

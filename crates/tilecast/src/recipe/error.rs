//! Why a recipe was refused: one line that names the place, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::tree::{Origin, Place};

/// Why a recipe was refused.
///
/// The text is one line that starts with the place: `recipes/x.yaml:12:5: …`, or `--set key=value: …`. As a
/// [`miette::Diagnostic`] it also carries the lines of the file, so that a terminal can show the place.
#[derive(Debug)]
pub struct RecipeError {
    details: Box<Details>,
}

/// What the user can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecipeErrorKind {
    /// The recipe file is missing or cannot be read.
    Missing,
    /// The recipe, or a `--set` argument, says something that is not accepted.
    Invalid,
}

#[derive(Debug)]
struct Details {
    kind: RecipeErrorKind,
    message: String,
    help: Option<String>,
    snippet: Option<Snippet>,
}

#[derive(Debug)]
struct Snippet {
    source: NamedSource<String>,
    label: String,
    offset_bytes: usize,
    len_bytes: usize,
}

/// Something that is wrong in the tree, before it is known which file and which arguments the tree came from.
#[derive(Debug)]
pub(super) struct Problem {
    /// `None`: the whole recipe.
    pub(super) origin: Option<Origin>,
    pub(super) message: String,
    /// A few words for the place itself.
    pub(super) label: String,
    pub(super) help: Option<String>,
}

/// What a tree was made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// The `--set` arguments.
    pub(super) overrides: &'a [String],
}

impl RecipeError {
    /// The recipe file at `path` could not be read.
    pub(super) fn unreadable(path: &Path, cause: &io::Error) -> Self {
        let help = if cause.kind() == io::ErrorKind::NotFound {
            "check the path; it is relative to the current folder"
        } else {
            "a recipe is a YAML file that this user may read"
        };
        Self::boxed(Details {
            kind: RecipeErrorKind::Missing,
            message: format!("{}: recipe cannot be read: {cause}", path.display()),
            help: Some(help.to_owned()),
            snippet: None,
        })
    }

    /// The recipe file at `path` holds no recipe at all.
    pub(super) fn no_recipe(path: &Path, message: &str, help: &str) -> Self {
        Self::boxed(Details {
            kind: RecipeErrorKind::Invalid,
            message: format!("{}: {message}", path.display()),
            help: Some(help.to_owned()),
            snippet: None,
        })
    }

    /// `problem` in the words of someone who knows the file and the arguments.
    pub(super) fn invalid(problem: Problem, sources: Sources<'_>) -> Self {
        let path = sources.path.display();
        let (message, snippet) = match problem.origin {
            None => (format!("{path}: {}", problem.message), None),
            Some(Origin::Override(idx)) => {
                let argument = sources.overrides.get(idx).map_or("", String::as_str);
                (format!("--set {argument}: {}", problem.message), None)
            }
            Some(Origin::File(place)) => (
                format!(
                    "{path}:{}:{}: {}",
                    place.line, place.column, problem.message
                ),
                Some(Snippet::new(place, problem.label, sources)),
            ),
        };
        Self::boxed(Details {
            kind: RecipeErrorKind::Invalid,
            message,
            help: problem.help,
            snippet,
        })
    }

    fn boxed(mut details: Details) -> Self {
        // Arguments and paths can hold anything; a message is one line.
        details.message = details.message.replace(char::is_control, " ");
        Self {
            details: Box::new(details),
        }
    }

    /// Whether the file or what it says is at fault.
    #[must_use]
    pub fn kind(&self) -> RecipeErrorKind {
        self.details.kind
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.details.help.as_deref()
    }
}

impl Snippet {
    fn new(place: Place, label: String, sources: Sources<'_>) -> Self {
        let text = sources.text;
        let byte_at = |offset_chars: usize| {
            text.char_indices()
                .nth(offset_chars)
                .map_or(text.len(), |(offset_bytes, _)| offset_bytes)
        };
        let offset_bytes = byte_at(place.offset_chars);
        let end_bytes = byte_at(place.offset_chars.saturating_add(place.len_chars));
        Self {
            source: NamedSource::new(sources.path.display().to_string(), text.to_owned()),
            label,
            offset_bytes,
            len_bytes: end_bytes - offset_bytes,
        }
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details.message)
    }
}

// The cause of an unreadable file is part of the message, so there is no source.
impl Error for RecipeError {}

// By hand, because the derive macro of `miette` is a feature of its own and cannot see into a box.
impl Diagnostic for RecipeError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.details.help.as_deref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let snippet = self.details.snippet.as_ref()?;
        Some(&snippet.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let snippet = self.details.snippet.as_ref()?;
        let label = LabeledSpan::new(
            Some(snippet.label.clone()),
            snippet.offset_bytes,
            snippet.len_bytes,
        );
        Some(Box::new(std::iter::once(label)))
    }
}

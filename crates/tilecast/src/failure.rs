//! What a verb fails with: a category that decides the exit code, one message that names file, node and cause, and a
//! hint.

use std::error::Error;
use std::fmt;

use tilecast_analysis::AnalyzeError;
use tilecast_exec::OpenOrtError;
use tilecast_passes::{OverrideError, PassError};
use tilecast_tile::{
    ChooseTilesError, CompareImagesError, CreateRunnerError, ListImagesError, ListImagesErrorKind,
    PlanError, ReadImageError, RunRowsError, RunTiledError, WriteImageError, WriteImageErrorKind,
};

use crate::recipe::{RecipeError, RecipeErrorKind};

/// Categories of failures; each has one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A quality gate or an error-level lint finding.
    Gate,
    /// The command line or the recipe is wrong, or a folder of images is empty.
    Usage,
    /// The model is invalid, or uses something that is not supported.
    Model,
    /// A file is missing, unreadable, corrupt or cannot be written.
    Io,
    /// A bug in tilecast.
    Internal,
    /// Interrupted by the user.
    Interrupted,
}

impl FailureKind {
    /// The process exit code: 1 gate, 2 usage, 3 model, 4 file, 70 bug, 130 interrupted. 0 is success.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Gate => 1,
            Self::Usage => 2,
            Self::Model => 3,
            Self::Io => 4,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// Why a verb did not do its work.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    message: String,
    help: Option<String>,
    /// A recipe error, which a terminal can show within the recipe's text.
    recipe: Option<Box<RecipeError>>,
}

impl Failure {
    /// A failure with this message.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
            recipe: None,
        }
    }

    /// The same failure with a hint about what to do next.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// The same failure, its message preceded by what it is about.
    #[must_use]
    pub fn about(self, subject: impl fmt::Display) -> Self {
        Self {
            message: format!("{subject}: {}", self.message),
            ..self
        }
    }

    /// The category.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What to do next, where that is not part of the message.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The error as a diagnostic within the recipe, where it is one.
    #[must_use]
    pub fn diagnostic(&self) -> Option<&dyn miette::Diagnostic> {
        self.recipe.as_deref().map(|r| r as &dyn miette::Diagnostic)
    }

    /// For errors whose own message says the cause.
    fn said(kind: FailureKind, error: &dyn Error) -> Self {
        Self::new(kind, error.to_string())
    }

    /// For errors whose cause is in their sources.
    fn of(kind: FailureKind, error: &dyn Error) -> Self {
        Self::new(kind, chain(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// An error and its causes on one line; a cause that its effect already quotes is not repeated.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl From<tilecast_onnx::LoadError> for Failure {
    fn from(error: tilecast_onnx::LoadError) -> Self {
        let kind = match error.kind() {
            tilecast_onnx::LoadErrorKind::Io => FailureKind::Io,
            _ => FailureKind::Model,
        };
        Self::said(kind, &error)
    }
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        let kind = match error.kind() {
            RecipeErrorKind::Missing => FailureKind::Io,
            RecipeErrorKind::Invalid => FailureKind::Usage,
        };
        let help = error.help().map(ToString::to_string);
        Self {
            help,
            recipe: Some(Box::new(error)),
            ..Self::new(kind, "")
        }
        .with_recipe_message()
    }
}

impl Failure {
    fn with_recipe_message(mut self) -> Self {
        if let Some(recipe) = &self.recipe {
            self.message = recipe.to_string();
        }
        self
    }
}

impl From<ListImagesError> for Failure {
    fn from(error: ListImagesError) -> Self {
        let kind = match error.kind() {
            ListImagesErrorKind::Empty => FailureKind::Usage,
            _ => FailureKind::Io,
        };
        Self::said(kind, &error)
    }
}

impl From<OpenOrtError> for Failure {
    fn from(error: OpenOrtError) -> Self {
        let kind = match &error {
            OpenOrtError::NotBuilt => FailureKind::Usage,
            _ => FailureKind::Io,
        };
        Self::said(kind, &error)
    }
}

impl From<RunTiledError> for Failure {
    fn from(error: RunTiledError) -> Self {
        let kind = match &error {
            RunTiledError::Interrupted { .. } => FailureKind::Interrupted,
            RunTiledError::WrongImage { .. } => FailureKind::Internal,
            _ => FailureKind::Model,
        };
        Self::of(kind, &error)
    }
}

impl From<RunRowsError> for Failure {
    fn from(error: RunRowsError) -> Self {
        match error {
            RunRowsError::Run(error) => error.into(),
            RunRowsError::Read(error) => error.into(),
            RunRowsError::Write(error) => error.into(),
            other => Self::of(FailureKind::Internal, &other),
        }
    }
}

impl From<ReadImageError> for Failure {
    fn from(error: ReadImageError) -> Self {
        Self::said(FailureKind::Io, &error)
    }
}

impl From<WriteImageError> for Failure {
    fn from(error: WriteImageError) -> Self {
        let kind = match error.kind() {
            WriteImageErrorKind::Unsupported => FailureKind::Usage,
            _ => FailureKind::Io,
        };
        Self::said(kind, &error)
    }
}

macro_rules! fails_as {
    ($($error:ty => $kind:ident),* $(,)?) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of(FailureKind::$kind, &error)
            }
        }
    )* };
}

fails_as! {
    tilecast_onnx::SaveError => Io,
    tilecast_onnx::InferShapesError => Model,
    tilecast_exec::LoadError => Model,
    tilecast_exec::RunError => Model,
    AnalyzeError => Model,
    PassError => Model,
    OverrideError => Usage,
    CreateRunnerError => Model,
    PlanError => Usage,
    ChooseTilesError => Usage,
    CompareImagesError => Io,
}

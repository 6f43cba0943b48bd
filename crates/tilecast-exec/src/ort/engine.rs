//! Loading the library, once for the process, and models into it.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ort::environment::Environment;
use ort::ep;
use ort::logging::LogLevel;
use ort::session::Session as OrtModel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::{LoadDynamicError, MINOR_VERSION};
use tempfile::TempDir;
use tilecast_onnx::{LARGEST_SINGLE_FILE, Model, infer_types};

use super::memory::peak_live_bytes;
use super::session::OrtSession;
use super::{LibrarySearch, NAME, OpenOrtError};
use crate::border::{border_type, graph_inputs};
use crate::guard::guarded;
use crate::{Engine, LoadError, Session, SessionOptions};

/// ONNX Runtime's CPU provider, from a library on the machine.
///
/// A run uses several threads by itself, and a session runs one input at a time. Models run as they are: ONNX Runtime
/// computes FP16 in float32 on the CPU and rounds where it likes, so that it does not judge FP16 models, and it shows no
/// values inside a graph. A model that makes the library itself crash ends the process.
///
/// For a given model, shapes, machine, library and number of threads the results are the same bit for bit, as far as ONNX
/// Runtime keeps to that.
#[derive(Clone, Debug)]
pub struct OrtEngine {
    environment: Environment,
    version: String,
    threads: NonZeroUsize,
    optimizes: bool,
}

/// What was loaded first; the library can be neither unloaded nor exchanged.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

impl OrtEngine {
    /// Loads the library, if it is not loaded yet. Sessions will have one thread per core.
    ///
    /// # Errors
    /// No library is found, it cannot be used, or another one is in use by this process.
    pub fn open(search: &LibrarySearch) -> Result<Self, OpenOrtError> {
        let path = search.find()?;
        let unusable = |reason: String| OpenOrtError::Unusable {
            path: path.clone(),
            reason,
        };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let environment = match &*loaded {
            Some((known, environment)) if *known == path => environment.clone(),
            Some((known, _)) => {
                return Err(unusable(format!(
                    "this process uses `{}` already, and can use one only",
                    known.display()
                )));
            }
            None => {
                let environment = start(&path).map_err(unusable)?;
                *loaded = Some((path.clone(), environment.clone()));
                environment
            }
        };
        Ok(Self {
            environment,
            version: version(
                &path,
                guarded(|| Ok::<_, String>(ort::info())).map_err(unusable)?,
            ),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            optimizes: true,
        })
    }

    /// The same engine with sessions of this many threads.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// The same engine with sessions that compute every node as it is written: slower, and without the integer kernels
    /// that take the place of quantized nodes, which on processors without VNNI instructions saturate.
    #[must_use]
    pub fn without_optimization(self) -> Self {
        Self {
            optimizes: false,
            ..self
        }
    }

    /// The library's version, such as `1.31.1`, or where its file does not have one in its name, the commit that it was
    /// built from.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let level = if self.optimizes {
            GraphOptimizationLevel::All
        } else {
            GraphOptimizationLevel::Disable
        };
        Ok(OrtModel::builder(&self.environment)?
            .with_optimization_level(level)?
            .with_intra_threads(self.threads.get())?
            // With its arena and without the plan of memory that it makes on the first run, it has its lowest peak.
            .with_memory_pattern(false)?
            .with_execution_providers([ep::CPU::default()
                .with_arena_allocator(true)
                .build()
                .error_on_failure()])?)
    }
}

impl Engine for OrtEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, model: &Model, options: &SessionOptions) -> Result<Arc<dyn Session>, LoadError> {
        let fail = |reason: String| LoadError {
            engine: NAME,
            reason,
        };
        if let Some(name) = options.observe.first() {
            return Err(fail(format!(
                "value `{name}`: it is to be observed, and this engine shows no values inside a graph; use tract"
            )));
        }
        let graph = model.graph();
        let types = infer_types(&graph);
        let inputs = graph_inputs(&graph, &types, options).map_err(|e| fail(e.to_string()))?;
        for output in &graph.proto().output {
            let name = output.name.as_deref().unwrap_or_default();
            border_type(&types, name, "output").map_err(|e| fail(e.to_string()))?;
        }
        let peak = peak_live_bytes(model, &inputs, &types);
        let source = Source::of(model).map_err(fail)?;
        let session =
            guarded(|| -> ort::Result<_> { source.commit(&mut self.builder()?) }).map_err(fail)?;
        Ok(Arc::new(OrtSession::new(session, &inputs, peak, source)))
    }
}

/// Loads the library; its own messages would end up on stderr, and what they say is in its errors too.
fn start(path: &Path) -> Result<Environment, String> {
    let environment = guarded(|| -> Result<_, String> {
        let builder = ort::init_from(path).map_err(|e| explain(&e))?;
        builder
            .with_name("tilecast")
            .with_telemetry(false)
            .build()
            .map_err(|e| e.to_string())
    })?;
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

/// What ONNX Runtime reads a model from.
pub(super) enum Source {
    /// The encoded messages.
    Memory(Vec<u8>),
    /// The file that the model was loaded from, which still says the same.
    File(PathBuf),
    /// A copy that exists as long as the session, which may have mapped it.
    Copy(TempDir),
}

/// The model's name in the folder of a [`Source::Copy`].
const COPY: &str = "model.onnx";

impl Source {
    fn of(model: &Model) -> Result<Self, String> {
        let len = model.encoded_len() as u64;
        let has_external_data = model.stored_bytes() > len;
        if len <= LARGEST_SINGLE_FILE {
            let bytes = model.to_bytes();
            if !has_external_data {
                return Ok(Self::Memory(bytes));
            }
            // External data is found beside a file only. References to it are part of the messages, so a file with the
            // same messages has the same data.
            if std::fs::read(model.path()).is_ok_and(|file| file == bytes) {
                return Ok(Self::File(model.path().to_owned()));
            }
        }
        let fail = |e: &dyn Error| {
            let cause = e
                .source()
                .map_or(String::new(), |cause| format!(": {cause}"));
            format!(
                "it has external data, or more than fits into one file, and must be copied for that: {e}{cause}"
            )
        };
        let folder = tempfile::tempdir().map_err(|e| fail(&e))?;
        model
            .save(&folder.path().join(COPY))
            .map_err(|e| fail(&e))?;
        Ok(Self::Copy(folder))
    }

    fn commit(&self, builder: &mut SessionBuilder) -> ort::Result<OrtModel> {
        match self {
            Self::Memory(bytes) => builder.commit_from_memory(bytes),
            Self::File(path) => builder.commit_from_file(path),
            Self::Copy(folder) => builder.commit_from_file(folder.path().join(COPY)),
        }
    }

    /// The copy, if there is one; it must live as long as the session.
    pub(super) fn into_copy(self) -> Option<TempDir> {
        match self {
            Self::Copy(folder) => Some(folder),
            Self::Memory(_) | Self::File(_) => None,
        }
    }
}

/// Why a library cannot be loaded.
fn explain(error: &LoadDynamicError) -> String {
    match error {
        LoadDynamicError::Dlopen { error, .. } => match error.source() {
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        },
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            "it is no library of ONNX Runtime".to_owned()
        }
        LoadDynamicError::BadVersion { version_str, .. } => format!(
            "it is version {version_str}, and 1.{MINOR_VERSION} is the oldest that can be used; install a newer one"
        ),
    }
}

/// The version in the name of the file behind a path, or else the commit in the description of the build.
fn version(library: &Path, build: &str) -> String {
    let file = std::fs::canonicalize(library).unwrap_or_else(|_| library.to_owned());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let numbers: Vec<&str> = name
        .split('.')
        .filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    if numbers.len() > 1 {
        return numbers.join(".");
    }
    let commit = build
        .split_once("git-commit-id=")
        .and_then(|(_, rest)| rest.split([',', ' ']).next());
    commit.unwrap_or(build).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name_or_else_the_commit_in_the_build() {
        let build = "ORT Build Info: git-branch=HEAD, git-commit-id=6af1a93, build type=Release";
        let old = LoadDynamicError::BadVersion {
            version_str: "1.16.3".into(),
            path: PathBuf::new(),
        };
        assert!(explain(&old).contains("it is version 1.16.3, and 1.17 is the oldest"));
        for (name, expected) in [
            ("libonnxruntime.so.1.31.1", "1.31.1"),
            ("libonnxruntime.1.20.0.dylib", "1.20.0"),
            ("onnxruntime.dll", "6af1a93"),
            ("libonnxruntime.so.1", "6af1a93"),
        ] {
            assert_eq!(version(Path::new(name), build), expected, "{name}");
        }
        assert_eq!(version(Path::new("a"), "unknown"), "unknown");
    }
}

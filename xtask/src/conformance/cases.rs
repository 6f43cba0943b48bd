//! The exported cases: the index, the models, and the tensors of their data sets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::Deserialize;
use tilecast_onnx::Tensor;
use tilecast_onnx::proto::TensorProto;

/// Version of the `onnx` package that the manifest belongs to.
pub(super) const ONNX_VERSION: &str = "1.23.2";

/// `index.json`, as `tests/conformance/export_cases.py` writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    /// Version of the `onnx` package that the cases come from.
    pub(super) onnx: String,
    /// Sorted by kind and name.
    pub(super) cases: Vec<Case>,
}

/// One model and what it must compute.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    kind: String,
    name: String,
    /// Allowed difference as a fraction of the expected value.
    pub(super) rtol: f64,
    /// Allowed difference on top of it.
    pub(super) atol: f64,
    /// Which input or output is no tensor; such a case has no data sets.
    pub(super) non_tensor: Option<String>,
    /// File names of inputs and expected outputs.
    pub(super) data_sets: Vec<DataSet>,
}

/// The files of one data set, in graph order.
#[derive(Debug, Deserialize)]
pub(super) struct DataSet {
    /// One per graph input that is not an initializer.
    pub(super) inputs: Vec<String>,
    /// One per graph output.
    pub(super) outputs: Vec<String>,
}

/// Why the exported cases could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadCasesError {
    /// A file is missing or cannot be read.
    #[error("cannot read `{}`; write the cases again with tests/conformance/export_cases.py", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index is no JSON of the expected form.
    #[error("cannot understand `{}`; write the cases again with tests/conformance/export_cases.py", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// A tensor file holds something else.
    #[error("`{}` is no tensor message", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: prost::DecodeError,
    },
    /// The cases are those of another release of the package.
    #[error("the cases in `{}` are those of onnx {found}, the manifest is that of onnx {ONNX_VERSION}", folder.display())]
    Version {
        /// Where the cases are.
        folder: PathBuf,
        /// The version in their index.
        found: String,
    },
}

impl Case {
    /// `kind/name`: what the manifest calls the case, and its folder.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

/// Reads the index of the cases below `folder`.
///
/// # Errors
/// The index is missing, damaged, or that of another version of the package.
pub(super) fn read_index(folder: &Path) -> Result<Index, ReadCasesError> {
    let path = folder.join("index.json");
    let text = read(&path)?;
    let index: Index = serde_json::from_slice(&text).map_err(|source| ReadCasesError::Index {
        path: path.clone(),
        source,
    })?;
    if index.onnx != ONNX_VERSION {
        return Err(ReadCasesError::Version {
            folder: folder.to_owned(),
            found: index.onnx,
        });
    }
    Ok(index)
}

/// Reads a file of a case.
///
/// # Errors
/// It is missing or cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadCasesError> {
    fs::read(path).map_err(|source| ReadCasesError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads tensors of a case. Within, the reason why the elements of one cannot be used.
///
/// # Errors
/// A file is missing or is no tensor message.
pub(super) fn read_tensors(
    folder: &Path,
    files: &[String],
) -> Result<Result<Vec<Tensor>, String>, ReadCasesError> {
    let mut tensors = Vec::with_capacity(files.len());
    for file in files {
        let path = folder.join(file);
        let proto = TensorProto::decode(read(&path)?.as_slice())
            .map_err(|source| ReadCasesError::Tensor { path, source })?;
        match Tensor::from_proto(&proto) {
            Ok(tensor) => tensors.push(tensor),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Ok(tensors))
}

//! A model file and its decoded messages. Weights stay in the mapped file until they are used.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use crate::all_tensors::all_tensors;
use crate::encode::model_len;
use crate::external::open_external_data;
use crate::proto::{
    GraphProto, ModelProto, StringStringEntryFields, StringStringEntryProto, budget,
};
use crate::{Graph, Violation, verify};

/// Files below this size are read: a mapping costs more than the copy, and a mapped file can change under us.
const MAP_FROM_BYTES: u64 = 1 << 20;

/// The newest default-domain opset whose operators this crate's tables describe (ONNX 1.23).
const NEWEST_OPSET: i64 = 28;

/// A decoded model and where it came from.
#[derive(Clone, Debug)]
pub struct Model {
    proto: ModelProto,
    path: PathBuf,
}

/// What kind of failure a [`LoadError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file is missing or cannot be read.
    Io,
    /// The bytes are no valid ONNX model.
    Invalid,
    /// A valid model that uses something newer than this crate knows.
    Unsupported,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("cannot load model `{}`: {reason}", path.display())]
pub struct LoadError {
    kind: LoadErrorKind,
    path: PathBuf,
    reason: String,
    source: Option<io::Error>,
}

impl LoadError {
    /// The category that decides what the user can do.
    #[must_use]
    pub fn kind(&self) -> LoadErrorKind {
        self.kind
    }
}

impl Model {
    /// Loads and verifies a model file, with the files beside it that hold external data.
    ///
    /// The messages keep their references as they are; [`crate::Tensor::from_proto`] follows them. Checksums of external
    /// data are not computed: that would read every weight.
    ///
    /// # Errors
    /// See [`LoadErrorKind`]. An invalid model's error lists every violation found; external data that is missing, too
    /// short or outside of the model's folder is named together with its tensor.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_or_map(path).map_err(|source| LoadError {
            kind: LoadErrorKind::Io,
            path: path.to_owned(),
            reason: match source.kind() {
                io::ErrorKind::NotFound => "no such file; check the path".to_owned(),
                _ => format!("{source}"),
            },
            source: Some(source),
        })?;
        Self::decode(bytes, path)
    }

    /// Decodes and verifies a model; `path` is only for messages and for finding files beside the model.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn decode(bytes: Bytes, path: &Path) -> Result<Self, LoadError> {
        let fail = |kind, reason| LoadError {
            kind,
            path: path.to_owned(),
            reason,
            source: None,
        };
        let n_bytes = bytes.len();
        budget::check(&bytes).map_err(|reason| fail(LoadErrorKind::Invalid, reason))?;
        let mut proto = ModelProto::decode(bytes).map_err(|e| {
            fail(
                LoadErrorKind::Invalid,
                format!("not an ONNX model, or a truncated one ({n_bytes} bytes read): {e}; export or copy it again"),
            )
        })?;
        open_external_data(&mut proto, path).map_err(|error| LoadError {
            kind: error.kind,
            path: path.to_owned(),
            reason: error.reason,
            source: error.source,
        })?;
        let violations = verify(&proto);
        if !violations.is_empty() {
            return Err(fail(LoadErrorKind::Invalid, list(&violations)));
        }
        let model = Self {
            proto,
            path: path.to_owned(),
        };
        if model.opset() > NEWEST_OPSET {
            return Err(fail(
                LoadErrorKind::Unsupported,
                format!(
                    "it needs opset {}, the newest known is {NEWEST_OPSET}; export it at an older opset",
                    model.opset()
                ),
            ));
        }
        Ok(model)
    }

    /// A model built in memory.
    ///
    /// # Errors
    /// Every violation, if the model is not valid.
    pub fn from_proto(proto: ModelProto) -> Result<Self, Vec<Violation>> {
        match verify(&proto) {
            violations if violations.is_empty() => Ok(Self {
                proto,
                path: PathBuf::new(),
            }),
            violations => Err(violations),
        }
    }

    /// The decoded messages.
    #[must_use]
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// The messages, for edits that a [`crate::Patch`] does not cover; the caller keeps the model valid.
    pub fn proto_mut(&mut self) -> &mut ModelProto {
        &mut self.proto
    }

    /// Gives an entry of `metadata_props` a value; one of that key is replaced.
    pub fn set_metadata(&mut self, key: &str, value: &str) {
        let entries = &mut self.proto.metadata_props;
        let same = |entry: &&mut StringStringEntryProto| entry.key.as_deref() == Some(key);
        match entries.iter_mut().find(same) {
            Some(entry) => entry.value = Some(value.to_owned()),
            None => entries.push(StringStringEntryProto::from(StringStringEntryFields {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            })),
        }
    }

    /// Where the model was loaded from; empty for one built in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The main graph's messages.
    ///
    /// # Panics
    /// Never: a model without a graph does not pass verification.
    #[must_use]
    pub fn graph_proto(&self) -> &GraphProto {
        self.proto
            .graph
            .as_ref()
            .expect("verified models have a graph")
    }

    /// The main graph, indexed.
    #[must_use]
    pub fn graph(&self) -> Graph<'_> {
        Graph::new(self.graph_proto())
    }

    /// Opset version of the default domain.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opset_of("").unwrap_or(1)
    }

    /// Opset version of a domain, if the model imports it.
    #[must_use]
    pub fn opset_of(&self, domain: &str) -> Option<i64> {
        let same = |d: &str| d == domain || (domain.is_empty() && d == "ai.onnx");
        self.proto
            .opset_import
            .iter()
            .find(|import| same(import.domain.as_deref().unwrap_or_default()))
            .map(|import| import.version.unwrap_or(1))
    }

    /// Size of the encoded messages, bytes; external data is not in it, see [`Model::stored_bytes`].
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        model_len(&self.proto)
    }

    /// What the model takes on disk, bytes: its messages and the external data that they point to.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let external = all_tensors(&self.proto)
            .into_iter()
            .filter(|(_, tensor)| !tensor.external.is_embedded())
            .filter_map(|(_, tensor)| tensor.external.byte_len())
            .map(|len| len as u64);
        self.encoded_len() as u64 + external.sum::<u64>()
    }

    /// The encoded messages. [`Model::write_to`] needs no memory for them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.write_to(&mut bytes)
            .expect("writing to memory does not fail");
        bytes
    }
}

fn list(violations: &[Violation]) -> String {
    const SHOWN: usize = 8;
    let mut lines = vec![format!("{} problem(s) in the graph", violations.len())];
    lines.extend(violations.iter().take(SHOWN).map(ToString::to_string));
    if violations.len() > SHOWN {
        lines.push(format!("and {} more", violations.len() - SHOWN));
    }
    lines.join("\n  ")
}

/// The contents of a file: mapped where it is large. Windows refuses to replace a file that is mapped, and saving over the
/// file that a model was loaded from is to work there, too.
pub(crate) fn read_or_map(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    if len < MAP_FROM_BYTES || cfg!(windows) {
        let mut buffer = Vec::with_capacity(len as usize);
        file.read_to_end(&mut buffer)?;
        return Ok(buffer.into());
    }
    map(&file)
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe in every crate that offers it"
)]
fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the mapping is private and read-only, and nothing in this process writes to a model file in place: saving
    // goes through a temporary file and a rename, which leaves a mapped inode untouched. Another process that truncates
    // the file while we read it can raise SIGBUS, as with every memory-mapped reader; it cannot corrupt our memory.
    let mapping = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/nafnet-denoise.onnx")
    }

    #[test]
    fn an_untouched_model_is_written_back_byte_for_byte() {
        for name in ["nafnet-denoise.onnx", "srvgg-x2.onnx"] {
            let path = sample().with_file_name(name);
            let model = Model::load(&path).unwrap();
            assert!(model.to_bytes() == std::fs::read(&path).unwrap(), "{name}");
            assert_eq!(model.encoded_len() as u64, path.metadata().unwrap().len());
        }
    }

    #[test]
    fn weights_stay_in_the_mapped_file() {
        let file = std::fs::read(sample()).unwrap();
        let bytes = Bytes::from(file);
        let range = bytes.as_ptr_range();
        let model = Model::decode(bytes.clone(), Path::new("m")).unwrap();
        for tensor in &model.graph_proto().initializer {
            let raw = tensor
                .raw_data
                .as_ref()
                .expect("the exporter writes raw data");
            assert!(
                raw.is_empty() || range.contains(&raw.as_ptr()),
                "{:?}",
                tensor.name
            );
        }
    }

    #[test]
    fn unknown_fields_survive() {
        let mut bytes = std::fs::read(sample()).unwrap();
        // Field 1000, length-delimited, five bytes: something that a newer writer might add.
        bytes.extend([0xc2, 0x3e, 5, b'h', b'e', b'l', b'l', b'o']);
        let model = Model::decode(bytes.clone().into(), Path::new("m")).unwrap();
        assert!(!model.proto().unknown.is_empty());
        assert!(model.to_bytes() == bytes);
    }

    #[test]
    fn a_model_cut_anywhere_is_an_error_and_no_panic() {
        let bytes = Bytes::from(std::fs::read(sample()).unwrap());
        let step = bytes.len() / 400;
        for cut in (0..bytes.len())
            .step_by(step)
            .chain(bytes.len() - 40..bytes.len())
        {
            let error = Model::decode(bytes.slice(..cut), Path::new("cut.onnx")).unwrap_err();
            assert_eq!(error.kind(), LoadErrorKind::Invalid, "cut at {cut}");
            assert!(error.to_string().contains("cut.onnx"));
        }
    }

    #[test]
    fn a_missing_file_and_a_newer_opset_are_told_apart() {
        let missing = Model::load(Path::new("no/such.onnx")).unwrap_err();
        assert_eq!(missing.kind(), LoadErrorKind::Io);
        let mut proto = Model::load(&sample()).unwrap().proto;
        proto.opset_import[0].version = Some(99);
        let newer = Model::decode(proto.encode_to_vec().into(), Path::new("m")).unwrap_err();
        assert_eq!(newer.kind(), LoadErrorKind::Unsupported);
        assert!(newer.to_string().contains("opset 99"), "{newer}");
    }

    #[test]
    fn saving_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.onnx");
        Model::load(&sample()).unwrap().save(&target).unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["out.onnx"]);
    }
}

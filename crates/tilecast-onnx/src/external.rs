//! Following the references that tensors make into other files (`external_data`).
//!
//! A location comes from whoever made the model, so it is confined: relative, without `..`, and inside the model's
//! folder once symbolic links are resolved. Every file is opened and mapped once; the tensors are slices of the mapping.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::LoadErrorKind;
use crate::all_tensors::all_tensors_mut;
use crate::model::read_or_map;
use crate::proto::{ExternalPayload, ModelProto, TensorProto};

/// Why a tensor's external data cannot be used.
#[derive(Debug)]
pub(crate) struct ExternalDataError {
    pub(crate) kind: LoadErrorKind,
    pub(crate) reason: String,
    pub(crate) source: Option<io::Error>,
}

/// Where a tensor's payload lies, as its message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// Path of the file, relative to the model's folder.
    pub(crate) location: &'a str,
    /// First byte.
    pub(crate) offset: u64,
    /// Bytes; `None` where the payload reaches to the end of the file.
    pub(crate) length: Option<u64>,
}

impl<'a> Reference<'a> {
    /// Reads the entries of a message. Unknown keys are kept by the message and ignored here.
    pub(crate) fn parse(tensor: &'a TensorProto) -> Result<Self, String> {
        let (mut location, mut offset, mut length, mut checksum) = (None, None, None, None);
        for entry in &tensor.external_data {
            let key = entry.key.as_deref().unwrap_or_default();
            let slot = match key {
                "location" => &mut location,
                "offset" => &mut offset,
                "length" => &mut length,
                "checksum" => &mut checksum,
                _ => continue,
            };
            if slot
                .replace(entry.value.as_deref().unwrap_or_default())
                .is_some()
            {
                return Err(format!("`{key}` is there twice"));
            }
        }
        let number = |key: &str, text: Option<&str>| {
            text.map(|text| {
                text.parse::<u64>()
                    .map_err(|_| format!("`{key}` is `{text}`, not a number of bytes"))
            })
            .transpose()
        };
        if let Some(text) = checksum
            && !(text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(format!(
                "`checksum` is `{text}`, not a SHA-1 in hexadecimal"
            ));
        }
        if tensor.raw_data.is_some() {
            return Err("the tensor also has a payload of its own".into());
        }
        Ok(Self {
            location: location
                .filter(|l| !l.is_empty())
                .ok_or("`location` is missing")?,
            offset: number("offset", offset)?.unwrap_or(0),
            length: number("length", length)?,
        })
    }
}

/// Gives every external tensor of the model its payload.
///
/// # Errors
/// The tensor, the file and the cause, for the first tensor whose data cannot be used.
pub(crate) fn open_external_data(
    model: &mut ModelProto,
    model_path: &Path,
) -> Result<(), ExternalDataError> {
    let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
    for (owner, tensor) in all_tensors_mut(model) {
        if !tensor.is_external() {
            continue;
        }
        let name = match (tensor.name.as_deref().unwrap_or_default(), owner) {
            ("", owner) => format!("tensor in an attribute of `{owner}`"),
            (name, _) => format!("tensor `{name}`"),
        };
        let invalid = |reason: String| ExternalDataError {
            kind: LoadErrorKind::Invalid,
            reason,
            source: None,
        };
        let reference = Reference::parse(tensor)
            .map_err(|reason| invalid(format!("{name}: its external data: {reason}")))?;
        let location = reference.location;
        if !files.contains_key(location) {
            let file = open(model_path, location).map_err(|mut error| {
                error.reason = format!("{name}: external data `{location}`: {}", error.reason);
                error
            })?;
            files.insert(location.to_owned(), file);
        }
        let file = &files[location];
        let payload = slice(file, reference)
            .map_err(|reason| invalid(format!("{name}: external data `{location}`: {reason}")))?;
        tensor.external = ExternalPayload::found(payload);
    }
    Ok(())
}

fn slice(file: &Bytes, reference: Reference<'_>) -> Result<Bytes, String> {
    let available = file.len() as u64;
    let end = match reference.length {
        Some(length) => reference.offset.checked_add(length),
        None => Some(available.max(reference.offset)),
    };
    match end.filter(|&end| end <= available) {
        Some(end) => Ok(file.slice(reference.offset as usize..end as usize)),
        None => Err(format!(
            "the tensor needs {} bytes from byte {} on, the file has {available}; copy the file again",
            reference.length.unwrap_or(0),
            reference.offset,
        )),
    }
}

fn open(model_path: &Path, location: &str) -> Result<Bytes, ExternalDataError> {
    let outside = || ExternalDataError {
        kind: LoadErrorKind::Invalid,
        reason: "the file must lie in the model's folder or below it; export the model again"
            .into(),
        source: None,
    };
    let unreadable = |source: io::Error| ExternalDataError {
        kind: LoadErrorKind::Io,
        reason: match source.kind() {
            io::ErrorKind::NotFound => {
                "no such file; keep it in the same folder as the model".to_owned()
            }
            _ => format!("{source}"),
        },
        source: Some(source),
    };
    let relative = Path::new(location);
    let confined = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !confined {
        return Err(outside());
    }
    let folder = folder_of(model_path).canonicalize().map_err(unreadable)?;
    let path: PathBuf = folder.join(relative).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&folder) {
        return Err(outside());
    }
    // Opening a pipe would wait for its writer, and a device has no end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(ExternalDataError {
            kind: LoadErrorKind::Invalid,
            reason: "it is not a regular file".into(),
            source: None,
        });
    }
    read_or_map(&path).map_err(unreadable)
}

/// The folder that a file lies in; the current one for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

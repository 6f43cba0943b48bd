//! Saving a model: whole or not at all, streamed, and with its weights in a second file where one file cannot hold them.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::all_tensors::{all_tensors, all_tensors_mut};
use crate::encode::write_model;
use crate::external::{Reference, folder_of};
use crate::proto::{
    ExternalPayload, ModelProto, StringStringEntryFields, StringStringEntryProto, TensorProto,
};
use crate::tensor::EXTERNAL;
use crate::{Model, Tensor};

/// Models whose encoding is longer than this (1.9 GiB) keep their weights in a second file: most readers of protobuf
/// stop at 2 GiB.
pub const LARGEST_SINGLE_FILE: u64 = 19 * (1 << 30) / 10;

/// Payloads in a data file begin at multiples of this, so that a reader can map each one by itself.
const ALIGNMENT: u64 = 4096;

/// A tensor that was in a data file keeps its offset if no more than this lies unused before it.
const LARGEST_GAP: u64 = 1 << 16;

/// Payloads below this stay in the model file: shapes and scales are read by everyone, and aligning them wastes a page.
const SMALLEST_EXTERNAL: usize = 1024;

/// How a model is written.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// Longest encoding that goes into a single file, bytes.
    pub largest_single_file: u64,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            largest_single_file: LARGEST_SINGLE_FILE,
        }
    }
}

/// Why a model could not be saved.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
pub struct SaveError {
    path: PathBuf,
    source: io::Error,
}

impl Model {
    /// Writes the model, whole or not at all. Memory for the weights is not needed a second time.
    ///
    /// External data goes into one file beside the model, named like it with `.data` appended. So do the weights of a
    /// model longer than [`LARGEST_SINGLE_FILE`]. A model and its data that are saved as they were loaded have the same
    /// bytes, if the data was dense, in one file of that name. Writing over the files that the model was loaded from is
    /// safe.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        self.save_with(path, &SaveOptions::default())
    }

    /// [`Model::save`] with other limits.
    ///
    /// # Errors
    /// As [`Model::save`].
    pub fn save_with(&self, path: &Path, options: &SaveOptions) -> Result<(), SaveError> {
        self.try_save(path, options).map_err(|source| SaveError {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the encoded messages: the bytes of [`Model::to_bytes`], without holding them in memory.
    ///
    /// # Errors
    /// What the writer returns.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        write_model(self.proto(), out)
    }

    fn try_save(&self, path: &Path, options: &SaveOptions) -> io::Result<()> {
        let too_long = self.encoded_len() as u64 > options.largest_single_file;
        let opened = |tensor: &TensorProto| {
            tensor.external.byte_len().is_some() && !tensor.external.is_embedded()
        };
        if !too_long && !all_tensors(self.proto()).iter().any(|(_, t)| opened(t)) {
            return write_beside(path, |out| self.write_to(out))?.persist_at(path);
        }
        let mut data_name = OsString::from(
            path.file_name()
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?,
        );
        data_name.push(".data");
        let location = data_name.to_str().ok_or_else(|| {
            let reason =
                "a model with external data needs a name in UTF-8, which its messages repeat";
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        })?;
        let mut proto = self.proto().clone();
        let payloads = move_out(&mut proto, location, |tensor| too_long || opened(tensor));
        let data_path = path.with_file_name(location);
        let data = write_beside(&data_path, |out| write_payloads(&payloads, out))?;
        let model = write_beside(path, |out| write_model(&proto, out))?;
        // A model without its data is of no use, so the data comes first.
        data.persist_at(&data_path)?;
        model.persist_at(path)
    }
}

/// Writes `contents` to a temporary file beside `path` and renames it, so that `path` never holds half a file.
///
/// # Errors
/// The folder does not exist or cannot be written.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_beside(path, |out| out.write_all(contents))?.persist_at(path)
}

/// How often a rename is tried, and the time in between: a virus scanner or an indexer may hold a file that was just closed.
const RENAME_ATTEMPTS: usize = 5;
const RENAME_PAUSE: Duration = Duration::from_millis(50);

/// Whether another program holds one of the files for the moment; only Windows has such refusals.
fn is_busy(error: &io::Error) -> bool {
    cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied
}

/// A complete file under a temporary name.
struct Written(NamedTempFile);

impl Written {
    fn persist_at(self, path: &Path) -> io::Result<()> {
        let mut file = self.0;
        for _ in 1..RENAME_ATTEMPTS {
            match file.persist(path) {
                Ok(_) => return Ok(()),
                Err(refused) if is_busy(&refused.error) => file = refused.file,
                Err(refused) => return Err(refused.error),
            }
            std::thread::sleep(RENAME_PAUSE);
        }
        file.persist(path).map_err(|refused| refused.error)?;
        Ok(())
    }
}

fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut NamedTempFile>) -> io::Result<()>,
) -> io::Result<Written> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tilecast-").suffix(".tmp");
    // Temporary files are private by default; an output is an ordinary file, and the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder_of(path))?;
    let mut out = BufWriter::new(&mut file);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(Written(file))
}

/// A payload and its place in the data file.
struct Placed {
    payload: ExternalPayload,
    len: u64,
    offset: u64,
}

/// Turns the payloads of the chosen tensors into references to `location`; returns them in the order of their offsets.
fn move_out(
    proto: &mut ModelProto,
    location: &str,
    is_chosen: impl Fn(&TensorProto) -> bool,
) -> Vec<Placed> {
    let mut chosen: Vec<_> = all_tensors_mut(proto)
        .into_iter()
        .filter(|(_, tensor)| is_chosen(tensor))
        .filter_map(|(_, tensor)| {
            let payload = payload_of(tensor)?;
            Some((
                payload.byte_len()? as u64,
                payload,
                origin_of(tensor),
                tensor,
            ))
        })
        .collect();
    // What came from a file keeps the order that it had there, and comes first; the sort is stable.
    chosen.sort_by(|(_, _, a, _), (_, _, b, _)| (a.is_none(), a).cmp(&(b.is_none(), b)));

    let mut placed: Vec<Placed> = Vec::with_capacity(chosen.len());
    let mut end = 0;
    let mut previous = None;
    for (len, payload, origin, tensor) in chosen {
        let shares = origin.is_some() && previous.as_ref() == Some(&(origin.clone(), len));
        let offset = match &origin {
            _ if shares => placed.last().map_or(0, |last| last.offset),
            Some((_, offset)) if (end..=end + LARGEST_GAP).contains(offset) => *offset,
            _ => u64::next_multiple_of(end, ALIGNMENT),
        };
        point_to(tensor, location, offset, len);
        previous = Some((origin, len));
        if !shares {
            end = offset + len;
            placed.push(Placed {
                payload,
                len,
                offset,
            });
        }
    }
    placed
}

/// The payload to move out, if the tensor has one that may lie in a file and is worth it.
fn payload_of(tensor: &TensorProto) -> Option<ExternalPayload> {
    if tensor.is_external() {
        return Some(tensor.external.clone());
    }
    let payload = Tensor::from_proto(tensor).ok()?.bytes().clone();
    (payload.len() >= SMALLEST_EXTERNAL).then(|| ExternalPayload::found(payload))
}

fn origin_of(tensor: &TensorProto) -> Option<(String, u64)> {
    if !tensor.is_external() {
        return None;
    }
    let reference = Reference::parse(tensor).ok()?;
    Some((reference.location.to_owned(), reference.offset))
}

/// Makes the tensor a reference. An entry that says the same already is not touched, so that it keeps its spelling.
fn point_to(tensor: &mut TensorProto, location: &str, offset: u64, length: u64) {
    if !tensor.is_external() {
        tensor.external_data.clear();
    }
    let (same_location, old_offset, old_length) = match Reference::parse(tensor) {
        Ok(old) => (old.location == location, Some(old.offset), old.length),
        Err(_) => (false, None, None),
    };
    if !same_location {
        set_entry(tensor, "location", location);
    }
    if old_offset != Some(offset) {
        set_entry(tensor, "offset", &offset.to_string());
    }
    if old_length != Some(length) {
        set_entry(tensor, "length", &length.to_string());
    }
    tensor.data_location = Some(EXTERNAL);
    tensor.external = std::mem::take(&mut tensor.external).with_place(false);
    tensor.raw_data = None;
    tensor.float_data.clear();
    tensor.int32_data.clear();
    tensor.int64_data.clear();
    tensor.double_data.clear();
    tensor.uint64_data.clear();
}

fn set_entry(tensor: &mut TensorProto, key: &str, value: &str) {
    let found = tensor
        .external_data
        .iter_mut()
        .find(|entry| entry.key.as_deref() == Some(key));
    if let Some(entry) = found {
        entry.value = Some(value.to_owned());
        return;
    }
    let entry = StringStringEntryFields {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    tensor
        .external_data
        .push(StringStringEntryProto::from(entry));
}

fn write_payloads(payloads: &[Placed], out: &mut impl Write) -> io::Result<()> {
    static ZEROS: [u8; LARGEST_GAP as usize] = [0; LARGEST_GAP as usize];
    let mut at = 0;
    for placed in payloads {
        out.write_all(&ZEROS[..(placed.offset - at) as usize])?;
        placed.payload.write_to(out)?;
        at = placed.offset + placed.len;
    }
    Ok(())
}

//! Payloads that lie beside their message: in another file, or in the model's own and still to be converted.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;

/// Bytes of the source that are converted at a time; a multiple of every element's size.
const CHUNK_BYTES: usize = 1 << 20;

/// A payload found in an external data file: a slice of the mapped file, such a slice in another element type, or nothing
/// where the file was not opened.
///
/// It is no part of the message, which holds only the reference: two messages are equal whether or not their references
/// were followed.
#[derive(Clone, Default)]
pub struct ExternalPayload(State);

#[derive(Clone, Default)]
enum State {
    #[default]
    NotOpened,
    Found(Bytes),
    /// Converted each time it is read or written: the result of a model larger than memory must not be held either.
    Converted {
        source: Bytes,
        convert: Convert,
        len: usize,
        /// Whether it is written into the message again instead of into a data file.
        embedded: bool,
    },
}

/// Converts elements one by one; `from` and `to` are the sizes of an element in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    /// Bytes of an element of the source.
    pub from: usize,
    /// Bytes of an element of the result.
    pub to: usize,
    /// The payload for any number of elements.
    pub elements: fn(&[u8]) -> Vec<u8>,
}

impl ExternalPayload {
    /// The payload that a reference was found to point to.
    #[must_use]
    pub fn found(bytes: Bytes) -> Self {
        Self(State::Found(bytes))
    }

    /// This payload in another element type; nothing of it is read yet. `None` where it was not opened, is a conversion
    /// already, or is no whole number of elements.
    #[must_use]
    pub fn converted(&self, convert: Convert) -> Option<Self> {
        let State::Found(source) = &self.0 else {
            return None;
        };
        let whole = convert.from > 0
            && CHUNK_BYTES.is_multiple_of(convert.from)
            && source.len().is_multiple_of(convert.from);
        whole.then(|| {
            Self(State::Converted {
                source: source.clone(),
                convert,
                len: source.len() / convert.from * convert.to,
                embedded: false,
            })
        })
    }

    /// This conversion as a payload that belongs into its message; anything else as it is.
    #[must_use]
    pub(crate) fn with_place(mut self, inside: bool) -> Self {
        if let State::Converted { embedded, .. } = &mut self.0 {
            *embedded = inside;
        }
        self
    }

    /// Whether it is written into its message.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.0, State::Converted { embedded: true, .. })
    }

    /// Length of the payload in bytes, if the reference was followed.
    #[must_use]
    pub fn byte_len(&self) -> Option<usize> {
        match &self.0 {
            State::NotOpened => None,
            State::Found(bytes) => Some(bytes.len()),
            State::Converted { len, .. } => Some(*len),
        }
    }

    /// The payload, if the reference was followed: shared where it lies in a file, computed where it is a conversion.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        match &self.0 {
            State::NotOpened => None,
            State::Found(bytes) => Some(bytes.clone()),
            State::Converted {
                source, convert, ..
            } => Some((convert.elements)(source).into()),
        }
    }

    /// Writes the payload, a conversion piece by piece; nothing where the reference was not followed.
    pub(crate) fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        match &self.0 {
            State::NotOpened => Ok(()),
            State::Found(bytes) => out.write_all(bytes),
            State::Converted {
                source, convert, ..
            } => source
                .chunks(CHUNK_BYTES)
                .try_for_each(|chunk| out.write_all(&(convert.elements)(chunk))),
        }
    }
}

impl PartialEq for ExternalPayload {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for ExternalPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.byte_len() {
            Some(len) => write!(f, "{len} bytes"),
            None => f.write_str("not opened"),
        }
    }
}

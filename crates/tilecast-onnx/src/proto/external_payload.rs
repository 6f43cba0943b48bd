//! What a tensor's reference into another file resolves to.

use std::fmt;

use bytes::Bytes;

/// A payload found in an external data file: a slice of the mapped file, or nothing where the file was not opened.
///
/// It is no part of the message, which holds only the reference: two messages are equal whether or not their references
/// were followed.
#[derive(Clone, Default)]
pub struct ExternalPayload(Option<Bytes>);

impl ExternalPayload {
    /// The payload that a reference was found to point to.
    #[must_use]
    pub fn found(bytes: Bytes) -> Self {
        Self(Some(bytes))
    }

    /// The payload, if the reference was followed.
    #[must_use]
    pub fn get(&self) -> Option<&Bytes> {
        self.0.as_ref()
    }
}

impl PartialEq for ExternalPayload {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for ExternalPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(bytes) => write!(f, "{} bytes", bytes.len()),
            None => f.write_str("not opened"),
        }
    }
}

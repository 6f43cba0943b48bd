//! An output that is being written: under a temporary name until it is whole.
//!
//! Whoever writes one holds a lock on it, which the system takes back however the process ends. So a later run can tell
//! a file that a killed run has left from one that another run is still writing, and removes the former.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// Names of temporary files begin and end so.
const PREFIX: &str = ".tilecast-image-";
const SUFFIX: &str = ".tmp";

/// A file under a temporary name beside its target; removed when it is dropped.
#[derive(Debug)]
pub(super) struct PendingFile(NamedTempFile);

impl PendingFile {
    /// Removes what killed runs have left in the folder of `target`, and creates a file there.
    pub(super) fn beside(target: &Path) -> io::Result<Self> {
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        remove_abandoned(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        // Temporary files are private by default; an output is an ordinary file, and the umask still applies.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        loop {
            let file = builder.tempfile_in(folder)?;
            match file.as_file().try_lock() {
                // Between creation and lock another run may have taken the file for an abandoned one.
                Ok(()) if !file.path().exists() => {}
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks: nobody can take it for an abandoned one there either.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Self(file)),
            }
        }
    }

    pub(super) fn file_mut(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Gives the file its name, in place of what had it before.
    pub(super) fn persist(self, target: &Path) -> io::Result<()> {
        self.0.persist(target).map_err(|e| e.error)?;
        Ok(())
    }
}

/// Removes temporary files that nobody holds a lock on. One that cannot be opened or locked is left alone.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if is_ours
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // Another run may be removing it, too.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_writes_is_removed_and_what_somebody_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let abandoned = folder.path().join(format!("{PREFIX}killed{SUFFIX}"));
        fs::write(&abandoned, b"half").unwrap();
        let other = folder.path().join(".tilecast-model.tmp");
        fs::write(&other, b"of another kind").unwrap();
        let target = folder.path().join("out.png");
        let mut first = PendingFile::beside(&target).unwrap();
        assert!(!abandoned.exists() && other.exists());
        let second = PendingFile::beside(&folder.path().join("second.png")).unwrap();
        assert_eq!(names(folder.path()).len(), 3, "both are being written");
        drop(second);
        first.file_mut().write_all(b"whole").unwrap();
        first.persist(&target).unwrap();
        assert_eq!(names(folder.path()), [".tilecast-model.tmp", "out.png"]);
        assert_eq!(fs::read(&target).unwrap(), b"whole");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = PendingFile::beside(&folder.path().join("no/such.png")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

//! The stage cache: what a stage made, kept under the hash of everything that it was made from.
//!
//! An entry is of one program, one model, one set of images and one way to observe them; whatever differs gives another
//! key, so an entry is never stale, only useless. A file that cannot be read is a miss. What is kept is exact to the bit,
//! so a run with the cache gives what one without it gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tilecast_onnx::write_atomically;

use crate::identity::hexadecimal;

/// Entries that are kept; the least recently written ones beyond that are removed.
const MAX_ENTRIES: usize = 64;

/// Ending of the files.
const ENDING: &str = "cache.json";

/// Where the stages keep what they made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageCache {
    /// Folder of the entries; made when it is first needed.
    pub folder: PathBuf,
    /// Identity of the program: another build may compute something else.
    pub program: String,
}

/// The hash of what an entry is made from.
pub(crate) struct CacheKey(Sha256);

impl CacheKey {
    /// A key of one stage of one program.
    pub(crate) fn new(cache: &StageCache, stage: &str) -> Self {
        Self(Sha256::new()).with(&cache.program).with(stage)
    }

    /// The key with one more thing that decides the result.
    #[must_use]
    pub(crate) fn with(mut self, part: &str) -> Self {
        // The length keeps two parts from running into each other.
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
        self
    }
}

impl StageCache {
    /// What was kept under a key.
    pub(crate) fn load<T: DeserializeOwned>(&self, key: &CacheKey) -> Option<T> {
        let bytes = fs::read(self.path(key)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps something. A cache that cannot be written is no reason to fail: the error is for a warning.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn store<T: Serialize>(&self, key: &CacheKey, value: &T) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let bytes = serde_json::to_vec(value).map_err(std::io::Error::other)?;
        write_atomically(&self.path(key), &bytes)?;
        remove_oldest(&self.folder);
        Ok(())
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        let hash = hexadecimal(&key.0.clone().finalize());
        self.folder.join(format!("{hash}.{ENDING}"))
    }
}

/// Removes the oldest entries beyond the limit. Other files of the folder stay, and so do entries that are in use.
fn remove_oldest(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<(SystemTime, PathBuf)> = files
        .filter_map(|file| {
            let file = file.ok()?;
            let is_entry = file.file_name().to_string_lossy().ends_with(ENDING);
            let modified = file.metadata().ok()?.modified().ok()?;
            is_entry.then(|| (modified, file.path()))
        })
        .collect();
    entries.sort();
    let n_surplus = entries.len().saturating_sub(MAX_ENTRIES);
    for (_, path) in entries.into_iter().take(n_surplus) {
        // Another process may have removed it.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_under_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |program: &str| StageCache {
            folder: folder.path().join("cache"),
            program: program.to_owned(),
        };
        let one = cache("one");
        let key = |cache: &StageCache, parts: [&str; 2]| {
            CacheKey::new(cache, "calibrate")
                .with(parts[0])
                .with(parts[1])
        };
        one.store(&key(&one, ["ab", "c"]), &vec![1, 2]).unwrap();
        assert_eq!(one.load(&key(&one, ["ab", "c"])), Some(vec![1, 2]));
        for other in [
            key(&one, ["a", "bc"]),
            key(&one, ["ab", "d"]),
            key(&cache("two"), ["ab", "c"]),
        ] {
            assert_eq!(one.load::<Vec<i32>>(&other), None);
        }
        // Something else under the same name is a miss.
        assert_eq!(one.load::<String>(&key(&one, ["ab", "c"])), None);
    }

    #[test]
    fn old_entries_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = StageCache {
            folder: folder.path().to_owned(),
            program: String::new(),
        };
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        for index in 0..MAX_ENTRIES + 3 {
            let key = CacheKey::new(&cache, &index.to_string());
            cache.store(&key, &index).unwrap();
        }
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            MAX_ENTRIES + 1
        );
        assert!(folder.path().join("notes.txt").exists());
    }
}

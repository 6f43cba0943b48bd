//! Where the stage cache lies.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use tilecast::StageCache;

/// Names the folder of the cache.
const FOLDER_VARIABLE: &str = "TILECAST_CACHE_DIR";

/// The cache in this folder, or in the one that the environment names, or in the user's; `None` where the system has none,
/// or does not tell which program this is.
pub(super) fn of_user(folder: Option<PathBuf>) -> Option<StageCache> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = folder
        .or_else(|| variable(FOLDER_VARIABLE))
        .or_else(|| Some(user_folder(variable)?.join("tilecast")))?;
    Some(StageCache {
        folder,
        program: program()?,
    })
}

/// The folder for caches of all programs.
fn user_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if cfg!(windows) {
        return variable("LOCALAPPDATA");
    }
    let home = variable("HOME");
    if cfg!(target_os = "macos") {
        return Some(home?.join("Library/Caches"));
    }
    variable("XDG_CACHE_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(home?.join(".cache")))
}

/// Version, size and date of the running program: another build has other entries.
fn program() -> Option<String> {
    let file = std::env::current_exe().and_then(std::fs::metadata).ok()?;
    let modified = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let version = env!("CARGO_PKG_VERSION");
    Some(format!("{version} {} {}", file.len(), modified.as_nanos()))
}

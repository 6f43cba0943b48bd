//! The way from a folder to a file, as a recipe writes it.

use std::path::{Component, Path, PathBuf};

/// `to`, relative to `folder`, with forward slashes; absolute where there is no way, as between two drives.
pub(crate) fn relative(folder: &Path, to: &Path) -> String {
    let absolute = |path: &Path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        // What exists is resolved, so that the two begin alike.
        std::fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path))
            .map(|p| without_dots(&p))
    };
    let (Ok(from), Ok(target)) = (absolute(folder), absolute(to)) else {
        return slashed(to);
    };
    let (from, target): (Vec<_>, Vec<_>) =
        (from.components().collect(), target.components().collect());
    let n_shared = from.iter().zip(&target).take_while(|(a, b)| a == b).count();
    if n_shared == 0 {
        return slashed(to);
    }
    let up = from[n_shared..].iter().map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(target[n_shared..].iter().copied()).collect();
    slashed(&way)
}

fn slashed(path: &Path) -> String {
    let text = path.to_string_lossy();
    if cfg!(windows) {
        text.replace('\\', "/")
    } else {
        text.into_owned()
    }
}

fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_goes_up_and_down() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at("models")).unwrap();
        std::fs::write(at("models/net.onnx"), "").unwrap();
        for (from, to, expected) in [
            ("a/b", "models/net.onnx", "../../models/net.onnx"),
            ("models", "models/net.onnx", "net.onnx"),
            ("a", "a/b", "b"),
            ("a", "a/missing/x", "missing/x"),
        ] {
            assert_eq!(relative(&at(from), &at(to)), expected, "{from} {to}");
        }
    }
}

//! Where the shared library of ONNX Runtime is: named outright, or in a Python environment that has the `onnxruntime`
//! package. Python itself is not run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::OpenOrtError;

/// What a caller knows of the places where ONNX Runtime may be installed.
///
/// The library has to be of version 1.17 or newer, and of the machine's own architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibrarySearch {
    library: Option<PathBuf>,
    environments: Vec<PathBuf>,
}

impl LibrarySearch {
    /// Looks where the environment variables say, which `variable` reads:
    /// 1. `ORT_DYLIB_PATH` is the library; if it is set, nothing else is looked at;
    /// 2. `VIRTUAL_ENV` is a Python environment;
    /// 3. the first folder of `PATH` that holds a `python3` belongs to one. Links are not followed and scripts that choose
    ///    a Python are not run, so that an environment behind either must be activated.
    #[must_use]
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let mut environments: Vec<PathBuf> = path("VIRTUAL_ENV").into_iter().collect();
        let folders = variable("PATH").unwrap_or_default();
        let python = std::env::split_paths(&folders).find(|folder| {
            ["python3", "python3.exe", "python.exe"]
                .iter()
                .any(|name| folder.join(name).is_file())
        });
        if let Some(folder) = python {
            // Programs lie in a folder of the environment, but for a Windows installation outside of an environment.
            environments.extend(folder.parent().map(Path::to_owned));
            environments.push(folder);
        }
        Self {
            library: path("ORT_DYLIB_PATH"),
            environments,
        }
    }

    /// Looks at one library only.
    #[must_use]
    pub fn at(library: PathBuf) -> Self {
        Self {
            library: Some(library),
            environments: Vec::new(),
        }
    }

    /// The path of the library.
    ///
    /// # Errors
    /// [`OpenOrtError::NotFound`], with what was looked at.
    pub fn find(&self) -> Result<PathBuf, OpenOrtError> {
        if let Some(library) = &self.library {
            // Made absolute, because a bare name would be looked for elsewhere.
            return std::path::absolute(library)
                .ok()
                .filter(|path| path.is_file())
                .ok_or_else(|| OpenOrtError::NotFound {
                    looked_in: vec![library.clone()],
                });
        }
        self.environments
            .iter()
            .find_map(|environment| in_environment(environment))
            .ok_or_else(|| OpenOrtError::NotFound {
                looked_in: self.environments.clone(),
            })
    }
}

/// The library of the `onnxruntime` package of a Python environment.
fn in_environment(environment: &Path) -> Option<PathBuf> {
    // Windows has one folder for packages; elsewhere its name holds the version, and Debian has names of its own.
    let mut packages = vec![environment.join("Lib")];
    for lib in ["lib", "lib64"] {
        packages.extend(entries(&environment.join(lib), |name| {
            name.starts_with("python3")
        }));
    }
    packages
        .iter()
        .flat_map(|folder| ["site-packages", "dist-packages"].map(|name| folder.join(name)))
        .flat_map(|folder| entries(&folder.join("onnxruntime/capi"), is_library))
        .find_map(|library| std::path::absolute(library).ok())
}

/// Entries of a folder whose names are accepted, the last name first: newer versions mostly have later names. None where
/// there is no such folder.
fn entries(folder: &Path, accepts: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(&accepts))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.reverse();
    found
}

/// Names of the library on Linux, macOS and Windows; `libonnxruntime_providers_shared.so` beside it is another one.
fn is_library(name: &str) -> bool {
    let is_macos = |rest: &str| rest.strip_suffix("dylib").is_some_and(|r| !r.contains('_'));
    name == "onnxruntime.dll"
        || name.starts_with("libonnxruntime.so")
        || name.strip_prefix("libonnxruntime.").is_some_and(is_macos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty file in a folder that is made for it.
    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    fn search(variables: &[(&str, &Path)]) -> Result<PathBuf, OpenOrtError> {
        LibrarySearch::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        })
        .find()
    }

    #[test]
    fn a_named_library_wins_and_is_not_replaced_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("here.so");
        let wheel = folder
            .path()
            .join("env/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.31.1");
        touch(&named);
        touch(&wheel);
        let env = folder.path().join("env");
        let found = search(&[("ORT_DYLIB_PATH", &named), ("VIRTUAL_ENV", &env)]);
        assert_eq!(found, Ok(named));
        let missing = folder.path().join("missing.so");
        let error = search(&[("ORT_DYLIB_PATH", &missing), ("VIRTUAL_ENV", &env)]).unwrap_err();
        assert!(error.to_string().contains("missing.so"), "{error}");
        let empty = Path::new("");
        let found = search(&[("ORT_DYLIB_PATH", empty), ("VIRTUAL_ENV", &env)]);
        assert_eq!(found, Ok(wheel));
    }

    #[test]
    fn packages_are_found_where_each_system_keeps_them() {
        for library in [
            "lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.20.0",
            "lib64/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so",
            "lib/python3/dist-packages/onnxruntime/capi/libonnxruntime.so.1.20",
            "lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.1.31.1.dylib",
            "Lib/site-packages/onnxruntime/capi/onnxruntime.dll",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let library = folder.path().join(library);
            touch(&library.with_file_name("libonnxruntime_providers_shared.so"));
            assert!(search(&[("VIRTUAL_ENV", folder.path())]).is_err());
            touch(&library);
            assert_eq!(search(&[("VIRTUAL_ENV", folder.path())]), Ok(library));
        }
    }

    #[test]
    fn the_active_environment_comes_before_the_first_python_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let library = |name: &str| {
            let inside = "lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1";
            let library = folder.path().join(name).join(inside);
            touch(&library);
            library
        };
        let (active, first) = (library("active"), library("first"));
        library("second");
        for name in ["first", "second"] {
            touch(&folder.path().join(name).join("bin/python3"));
        }
        let folders = ["none/bin", "first/bin", "second/bin"].map(|f| folder.path().join(f));
        let path = PathBuf::from(std::env::join_paths(folders).unwrap());
        assert_eq!(search(&[("PATH", &path)]), Ok(first));
        let env = folder.path().join("active");
        let found = search(&[("PATH", &path), ("VIRTUAL_ENV", &env)]);
        assert_eq!(found, Ok(active));
        assert_eq!(
            search(&[]),
            Err(OpenOrtError::NotFound { looked_in: vec![] })
        );
    }
}

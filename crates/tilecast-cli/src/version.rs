//! `tilecast --version`, and with `--verbose` what the program was built from.

use std::ffi::OsString;

/// What a command line that only asks for the version is answered; `None` for any other.
pub(crate) fn answer(arguments: &[OsString]) -> Option<String> {
    let is = |argument: &OsString, names: [&str; 2]| names.iter().any(|name| argument == *name);
    let mut asked = false;
    let mut verbose = false;
    for argument in arguments.iter().skip(1) {
        if is(argument, ["--version", "-V"]) {
            asked = true;
        } else if is(argument, ["--verbose", "-v"]) {
            verbose = true;
        } else {
            return None;
        }
    }
    asked.then(|| if verbose { long() } else { short() })
}

fn short() -> String {
    format!("tilecast {}\n", env!("CARGO_PKG_VERSION"))
}

fn long() -> String {
    let features = if cfg!(feature = "ort") { "ort" } else { "none" };
    format!(
        "{}target: {}\nprofile: {}\nfeatures: {features}\nengine: tract {}\ncompiler: {}\nrecipe version: 1\n",
        short(),
        env!("TILECAST_TARGET"),
        env!("TILECAST_PROFILE"),
        env!("TILECAST_TRACT"),
        env!("TILECAST_RUSTC"),
    )
}

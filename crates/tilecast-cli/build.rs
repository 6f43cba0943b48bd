//! What `--version --verbose` says of the build.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| {
        let value = std::env::var_os(name).unwrap_or_default();
        value.to_string_lossy().into_owned()
    };
    println!("cargo:rustc-env=TILECAST_TARGET={}", variable("TARGET"));
    println!(
        "cargo:rustc-env=TILECAST_PROFILE={}, opt-level {}",
        variable("PROFILE"),
        variable("OPT_LEVEL")
    );
    let rustc = Command::new(variable("RUSTC")).arg("--version").output();
    let rustc = rustc.map_or(String::new(), |out| {
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    });
    println!("cargo:rustc-env=TILECAST_RUSTC={rustc}");
    let lock = Path::new("../../Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    let tract = std::fs::read_to_string(lock)
        .ok()
        .and_then(|text| locked_version(&text, "tract-onnx"))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=TILECAST_TRACT={tract}");
}

/// The version of a package in the lock file.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(entry.split('"').next()?.to_owned())
}

//! The other tools: a Python that has them, and scripts that run them.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use super::{BenchError, checkout};

/// Where the scripts are, relative to the root of the checkout.
const SCRIPTS: &str = "xtask/src/bench";

/// Versions that the figures in the documents were measured with.
const PINNED: [(&str, &str); 7] = [
    ("onnx", "1.23.2"),
    ("onnxruntime", "1.31.1"),
    ("onnxslim", "0.1.98"),
    ("onnxsim", "0.8.1"),
    ("numpy", "2.4.6"),
    ("pillow", "13.0.0"),
    ("onnxconverter-common", "1.16.0"),
];

/// Which packages a Python has, with their versions.
///
/// # Errors
/// There is no such Python, or a required package is missing; the message says how to get it.
pub(super) fn versions(
    python: &Path,
    required: &[&str],
    optional: &[&str],
) -> Result<Vec<(String, String)>, BenchError> {
    let names: Vec<&str> = required.iter().chain(optional).copied().collect();
    let script = "import sys, importlib.metadata as m\n\
                  for name in sys.argv[1:]:\n\
                  \x20   try: print(name, m.version(name))\n\
                  \x20   except m.PackageNotFoundError: pass\n";
    let output = Command::new(python)
        .arg("-c")
        .arg(script)
        .args(&names)
        .output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        _ => {
            return Err(BenchError::Python(format!(
                "cannot run `{}`; give a Python that has {} with --python PATH",
                python.display(),
                names.join(", ")
            )));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect();
    let missing: Vec<String> = required
        .iter()
        .filter(|name| found.iter().all(|(found, _)| found != *name))
        .map(|name| pinned(name))
        .collect();
    if missing.is_empty() {
        return Ok(found);
    }
    Err(BenchError::Python(format!(
        "`{}` lacks {}; install it into an environment (`python3 -m venv DIR`, `DIR/bin/pip install {}`) and give --python DIR/bin/python",
        python.display(),
        missing.join(" "),
        missing.join(" ")
    )))
}

/// The package as pip wants it.
fn pinned(name: &str) -> String {
    let version = PINNED.iter().find(|(package, _)| *package == name);
    version.map_or(name.to_owned(), |(_, version)| format!("{name}=={version}"))
}

/// A script that ends by itself.
///
/// # Errors
/// Python cannot be started.
pub(super) fn run(python: &Path, script: &str, args: &[&Path]) -> Result<Output, BenchError> {
    let path = script_path(script);
    Command::new(python)
        .arg(&path)
        .args(args)
        .output()
        .map_err(|e| BenchError::file(&path, e))
}

/// The last line of what a script that failed had to say, with its status.
pub(super) fn complaint(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr);
    let last = message.lines().rev().find(|line| !line.trim().is_empty());
    format!("{} ({})", last.unwrap_or("no message"), output.status)
}

pub(super) fn script_path(script: &str) -> PathBuf {
    checkout().join(SCRIPTS).join(script)
}

/// A script that answers lines with lines.
pub(super) struct Dialog {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    script: &'static str,
}

impl Dialog {
    /// Starts it; its messages go to the terminal.
    ///
    /// # Errors
    /// Python cannot be started.
    pub(super) fn start(python: &Path, script: &'static str) -> Result<Self, BenchError> {
        Self::start_with(python, script, &[])
    }

    /// As [`Dialog::start`], with arguments.
    ///
    /// # Errors
    /// Python cannot be started.
    pub(super) fn start_with(
        python: &Path,
        script: &'static str,
        args: &[&str],
    ) -> Result<Self, BenchError> {
        let path = script_path(script);
        let mut child = Command::new(python)
            .arg(&path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| BenchError::file(&path, e))?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().expect("its output was asked for");
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers).lines(),
            script,
        })
    }

    /// Says a line.
    ///
    /// # Errors
    /// The script has ended.
    pub(super) fn say(&mut self, line: &str) -> Result<(), BenchError> {
        let Some(pipe) = self.questions.as_mut() else {
            return Err(self.ended());
        };
        if writeln!(pipe, "{line}")
            .and_then(|()| pipe.flush())
            .is_err()
        {
            return Err(self.ended());
        }
        Ok(())
    }

    /// Says that there is nothing more to say.
    pub(super) fn hush(&mut self) {
        self.questions = None;
    }

    /// Waits for a line.
    ///
    /// # Errors
    /// The script has ended.
    pub(super) fn hear(&mut self) -> Result<String, BenchError> {
        match self.answers.next() {
            Some(Ok(line)) => Ok(line),
            _ => Err(self.ended()),
        }
    }

    fn ended(&self) -> BenchError {
        BenchError::Python(format!("{} has ended; see its message above", self.script))
    }
}

impl Drop for Dialog {
    fn drop(&mut self) {
        self.questions = None;
        // A script that nobody listens to any more ends at its next line, or is ended here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_python_is_told_with_what_it_must_have() {
        let error = versions(Path::new("no-such-python"), &["onnx"], &["onnxslim"]).unwrap_err();
        let text = error.to_string();
        for part in ["no-such-python", "onnx, onnxslim", "--python"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(pinned("onnx"), "onnx==1.23.2");
        assert_eq!(pinned("other"), "other");
    }
}

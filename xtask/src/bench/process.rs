//! A process of its own, whose time and memory are watched from outside.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::BenchError;

/// Between two looks at the process. More of them would take time from it on a small machine.
const INTERVAL: Duration = Duration::from_millis(10);

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// Wall-clock time from start to end.
    pub(super) seconds: f64,
    /// Largest memory that no file stands behind, bytes.
    pub(super) anonymous: u64,
    /// Largest part of mapped files in memory, bytes.
    pub(super) mapped: u64,
    /// Largest resident set, bytes.
    pub(super) resident: u64,
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, fails, or the system does not tell its memory.
pub(super) fn watch(what: &str, command: &mut Command) -> Result<Run, BenchError> {
    Ok(watch_output(what, command)?.0)
}

/// The same, with what it has printed: less than the system keeps for a pipe that nobody reads.
///
/// # Errors
/// As [`watch`].
pub(super) fn watch_output(what: &str, command: &mut Command) -> Result<(Run, String), BenchError> {
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| BenchError::step(format!("starting {what}"), e))?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut run = Run::default();
    let status = loop {
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        run.anonymous = run.anonymous.max(field(&text, "RssAnon"));
        run.mapped = run.mapped.max(field(&text, "RssFile"));
        run.resident = run.resident.max(field(&text, "VmHWM"));
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => sleep(INTERVAL),
            Err(e) => return Err(BenchError::step(format!("waiting for {what}"), e)),
        }
    };
    run.seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(BenchError::step(what, status.to_string()));
    }
    if run.anonymous == 0 {
        let reason = "this system does not tell how much memory of a process is anonymous";
        return Err(BenchError::step("measuring memory", reason));
    }
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let read = stdout.read_to_string(&mut text);
        read.map_err(|e| BenchError::step(format!("reading the output of {what}"), e))?;
    }
    Ok((run, text))
}

/// `tilecast` as this program runs it.
///
/// # Errors
/// The program cannot be found.
pub(super) fn tilecast() -> Result<Command, BenchError> {
    let program = std::env::current_exe();
    let program = program.map_err(|e| BenchError::step("finding this program", e))?;
    Ok(Command::new(program))
}

/// Bytes of a field of `/proc/PID/status`; zero where it is not there.
fn field(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_status_are_read() {
        let status = "VmHWM:\t    1200 kB\nRssAnon:\t 12 kB\n";
        assert_eq!(field(status, "RssAnon"), 12 * 1024);
        assert_eq!(field(status, "VmHWM"), 1200 * 1024);
        assert_eq!(field(status, "RssFile"), 0);
    }
}

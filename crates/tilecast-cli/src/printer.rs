//! The one place that decides what a terminal shows: progress, warnings, failures on stderr, data on stdout.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tilecast::{Event, Failure, Reporter};

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On terminals, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a verb prints on stdout, and how the process ends.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) code: ExitCode,
}

impl Output {
    /// Data of a verb that did its work.
    pub(crate) fn success(text: String) -> Self {
        Self {
            text,
            code: ExitCode::SUCCESS,
        }
    }

    /// Data of a verb whose gate failed.
    pub(crate) fn gated(text: String, passed: bool) -> Self {
        let code = if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(tilecast::FailureKind::Gate.exit_code())
        };
        Self { text, code }
    }
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Failures only.
    Quiet,
    /// Progress on a terminal, finished stages, warnings and hints.
    Normal,
    /// Also where a stage is, in lines, where there is no terminal.
    Verbose,
}

/// Time between two lines about the same stage.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A stage that is told about in lines.
struct Lines {
    stage: String,
    unit: String,
    total: usize,
    start: Instant,
    last: Instant,
}

impl Lines {
    /// Where the stage is, with the time that is left if it goes on as it went.
    fn at(&self, done: usize, now: Instant) -> String {
        let seconds = now.duration_since(self.start).as_secs_f64();
        let left = seconds * self.total.saturating_sub(done) as f64 / done.max(1) as f64;
        format!(
            "{} {done}/{} {}, {left:.0} s left",
            self.stage, self.total, self.unit
        )
    }
}

/// Shows events and failures.
pub(crate) struct Printer {
    talk: Talk,
    lines: Mutex<Option<Lines>>,
    color: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Printer {
    pub(crate) fn new(talk: Talk, color: ColorChoice) -> Self {
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => io::stderr().is_terminal() && !no_color(),
        };
        Self {
            talk,
            lines: Mutex::new(None),
            color,
            bar: Mutex::new(None),
        }
    }

    /// Writes data.
    pub(crate) fn data(text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Shows a failure and what to do about it, with the place in the recipe where it has one.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.say(&format!("{}: {failure}", self.paint("error", "31;1")));
        if let Some(excerpt) = failure.diagnostic().and_then(|d| self.excerpt(d)) {
            return self.say(&excerpt);
        }
        if let (Some(help), false) = (failure.help(), self.is_quiet()) {
            self.say(&format!("{}: {help}", self.paint("help", "36;1")));
        }
    }

    /// The lines of the recipe that a diagnostic points at, and its help; `None` where it points at none.
    fn excerpt(&self, diagnostic: &dyn miette::Diagnostic) -> Option<String> {
        diagnostic.source_code()?;
        let theme = if self.color {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        };
        let mut text = String::new();
        miette::GraphicalReportHandler::new_themed(theme)
            .with_wrap_lines(false)
            .render_report(&mut text, diagnostic)
            .ok()?;
        // The first line is the message, which is one line and has been said.
        let (_, excerpt) = text.split_once('\n')?;
        Some(excerpt.trim_end().to_owned())
    }

    /// Removes a progress bar that an early end has left.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.take_bar() {
            bar.finish_and_clear();
        }
    }

    /// A line of talk. stderr may be closed; there is nobody left to tell then.
    fn say(&self, line: &str) {
        let write = || {
            let _ = writeln!(io::stderr().lock(), "{line}");
        };
        match self.bar.lock() {
            Ok(guard) => match guard.as_ref() {
                Some(bar) => bar.suspend(write),
                None => write(),
            },
            Err(_) => write(),
        }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn is_quiet(&self) -> bool {
        self.talk == Talk::Quiet
    }

    /// A line about the stage, where the last one is old.
    fn line(&self, done: usize) {
        let Ok(mut lines) = self.lines.lock() else {
            return;
        };
        let now = Instant::now();
        if let Some(lines) = lines.as_mut()
            && now.duration_since(lines.last) >= LINE_INTERVAL
        {
            lines.last = now;
            self.say(&lines.at(done, now));
        }
    }

    fn take_bar(&self) -> Option<ProgressBar> {
        self.bar.lock().ok()?.take()
    }

    fn start(&self, stage: &str, unit: &str, total: usize) {
        if self.is_quiet() {
            return;
        }
        if !io::stderr().is_terminal() {
            if self.talk == Talk::Verbose && total > 0 {
                self.say(&format!("{stage}: {total} {unit}"));
                let now = Instant::now();
                if let Ok(mut lines) = self.lines.lock() {
                    *lines = Some(Lines {
                        stage: stage.to_owned(),
                        unit: unit.to_owned(),
                        total,
                        start: now,
                        last: now,
                    });
                }
            }
            return;
        }
        let template = if total > 0 {
            format!(
                "{{spinner}} {{msg:12}} {{bar:30}} {{pos}}/{{len}} {unit} {{elapsed}} left {{eta}}"
            )
        } else {
            "{spinner} {msg:12} {elapsed}".to_owned()
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        if let Ok(mut slot) = self.bar.lock() {
            *slot = Some(bar);
        }
    }
}

impl Reporter for Printer {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started { stage, unit, total } => self.start(stage, unit, *total),
            Event::Progress { done } => {
                if let Ok(guard) = self.bar.lock()
                    && let Some(bar) = guard.as_ref()
                {
                    bar.set_position(*done as u64);
                }
                self.line(*done);
            }
            Event::Finished { stage, seconds } => {
                self.clear();
                if let Ok(mut lines) = self.lines.lock() {
                    *lines = None;
                }
                if !self.is_quiet() && *seconds >= 0.05 {
                    self.say(&format!("{stage:12} {seconds:6.1} s"));
                }
            }
            Event::Reused { stage, what } if !self.is_quiet() => {
                self.say(&format!("{stage:12} reused: {what}"));
            }
            Event::Warning(message) if !self.is_quiet() => {
                self.say(&format!("{}: {message}", self.paint("warning", "33;1")));
            }
            Event::Reused { .. } | Event::Warning(_) => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this crate is where the environment is read"
)]
fn no_color() -> bool {
    std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_stage_unit_total_and_time_left() {
        let start = Instant::now();
        let lines = Lines {
            stage: "calibrate".to_owned(),
            unit: "tiles".to_owned(),
            total: 128,
            start,
            last: start,
        };
        let text = lines.at(32, start + Duration::from_secs(10));
        assert_eq!(text, "calibrate 32/128 tiles, 30 s left");
    }
}

//! What a verb may know of the world around it: who listens, and whether to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Failure, FailureKind};

/// What happens while a verb works. The library only emits events; showing them is the caller's business.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A stage begins; `total` units of work are ahead, 0 where that is not known.
    Started {
        /// Stage, a verb in lower case.
        stage: &'a str,
        /// What is counted, plural.
        unit: &'a str,
        /// How many there are.
        total: usize,
    },
    /// This many units of the running stage are done.
    Progress {
        /// Units done.
        done: usize,
    },
    /// The running stage has ended.
    Finished {
        /// Stage.
        stage: &'a str,
        /// Wall-clock time, seconds.
        seconds: f64,
    },
    /// A part of a stage was taken from the cache.
    Reused {
        /// Stage.
        stage: &'a str,
        /// What was taken.
        what: &'a str,
    },
    /// Something that the user should know although the work goes on.
    Warning(&'a str),
}

/// Receives events, from several threads.
pub trait Reporter: Sync {
    /// Called once per event, soon after it happened.
    fn event(&self, event: &Event<'_>);
}

/// A reporter that tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// Passed to everything that takes time.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    reporter: &'a dyn Reporter,
    cancelled: &'a AtomicBool,
}

impl<'a> Context<'a> {
    /// A context with this listener; setting `cancelled` ends the work at the next tile or image.
    #[must_use]
    pub fn new(reporter: &'a dyn Reporter, cancelled: &'a AtomicBool) -> Self {
        Self {
            reporter,
            cancelled,
        }
    }

    /// The same without a listener, for parts that are no unit of work of their own.
    #[must_use]
    pub(crate) fn silent(&self) -> Self {
        Self {
            reporter: &Silent,
            cancelled: self.cancelled,
        }
    }

    /// Tells the listener.
    pub fn emit(&self, event: &Event<'_>) {
        self.reporter.event(event);
    }

    /// The flag that ends the work.
    #[must_use]
    pub fn cancelled(&self) -> &'a AtomicBool {
        self.cancelled
    }

    /// Fails once the user has interrupted.
    ///
    /// # Errors
    /// [`FailureKind::Interrupted`].
    pub fn check(&self) -> Result<(), Failure> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Failure::new(
                FailureKind::Interrupted,
                "interrupted; nothing unfinished was written",
            ));
        }
        Ok(())
    }
}

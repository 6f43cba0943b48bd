//! Timing stages: what each took, and how much memory the process held meanwhile.

use std::time::Instant;

use schemars::JsonSchema;

use crate::context::{Context, Event};

/// Cost of one stage, as the report states it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, JsonSchema)]
pub struct StageCost {
    /// Stage, a verb in lower case.
    pub name: String,
    /// Wall-clock time, seconds.
    pub seconds: f64,
    /// Largest resident set of the process during the stage, bytes; null where the system does not tell.
    pub peak_bytes: Option<u64>,
    /// What was taken from the cache instead of being computed, in words; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused: Option<String>,
}

/// Runs stages one after the other and keeps their costs.
#[derive(Debug, Default)]
pub(crate) struct StageClock {
    costs: Vec<StageCost>,
}

impl StageClock {
    /// Runs one stage, announced with the number of units ahead.
    ///
    /// # Errors
    /// What the stage fails with; its cost is not kept then.
    pub(crate) fn run<T, E>(
        &mut self,
        cx: &Context<'_>,
        stage: &str,
        unit: &str,
        total: usize,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        reset_peak();
        let start = Instant::now();
        cx.emit(&Event::Started { stage, unit, total });
        let result = work()?;
        let seconds = start.elapsed().as_secs_f64();
        cx.emit(&Event::Finished { stage, seconds });
        self.costs.push(StageCost {
            name: stage.to_owned(),
            seconds,
            peak_bytes: peak(),
            reused: None,
        });
        Ok(result)
    }

    /// Says of the last stage what it took from the cache.
    pub(crate) fn reused(&mut self, what: String, cx: &Context<'_>) {
        if let Some(last) = self.costs.last_mut() {
            let stage = &last.name;
            cx.emit(&Event::Reused { stage, what: &what });
            last.reused = Some(what);
        }
    }

    /// Costs of the stages so far, in order.
    #[must_use]
    pub(crate) fn costs(&self) -> &[StageCost] {
        &self.costs
    }
}

/// High-water mark of the resident set, which Linux keeps in `VmHWM`.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Starts the high-water mark anew; where the system refuses, a stage's figure includes the stages before it.
fn reset_peak() {
    // See clear_refs in proc(5): 5 resets the peak resident set.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

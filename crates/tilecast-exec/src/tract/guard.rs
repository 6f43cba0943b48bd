//! The border to tract: a panic behind it becomes an error before it.
//!
//! tract has assertions that a hostile model can reach. Unwinding is caught here, and the message that the standard
//! hook would print is kept quiet on the thread that is inside tract, and on that thread only.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use tract_onnx::prelude::TractResult;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a call into tract; an error or a panic inside comes back as its message.
pub(super) fn guarded<T>(call: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    install_hook();
    let outer = INSIDE.replace(true);
    // The caller drops whatever the call was working on, so nothing half-done is seen again.
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(payload) => Err(format!(
            "it panicked ({}), so the model breaks an assumption of this engine; use another one",
            message(payload.as_ref())
        )),
    }
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                previous(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_an_error_come_back_as_text() {
        assert_eq!(guarded(|| Ok(3)), Ok(3));
        let numbers: Vec<u32> = Vec::new();
        let panicked = guarded(|| Ok(numbers[7])).unwrap_err();
        assert!(
            panicked.contains("it panicked (index out of bounds"),
            "{panicked}"
        );
        let failed = guarded(|| TractResult::<u32>::Ok("x".parse()?)).unwrap_err();
        assert!(failed.contains("invalid digit"), "{failed}");
        assert!(!INSIDE.get());
    }
}

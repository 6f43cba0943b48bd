//! The border to the crates that run models: a panic behind it becomes an error before it.
//!
//! tract has assertions that a hostile model can reach. Unwinding is caught here, and the message that the standard
//! hook would print is kept quiet on the thread that is inside the engine, and on that thread only.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a call into an engine; an error or a panic inside comes back as its message.
pub(crate) fn guarded<T, E: Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
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
        assert_eq!(guarded(|| Ok::<_, String>(3)), Ok(3));
        let numbers: Vec<u32> = Vec::new();
        let panicked = guarded(|| Ok::<_, String>(numbers[7])).unwrap_err();
        assert!(
            panicked.contains("it panicked (index out of bounds"),
            "{panicked}"
        );
        let failed = guarded(|| "x".parse::<u32>()).unwrap_err();
        assert!(failed.contains("invalid digit"), "{failed}");
        assert!(!INSIDE.get());
    }
}

//! Reports a panic of the simulated system as a violation of its seed, instead of on standard
//! error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static POLLING: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Polls, and returns the text of a panic as the error.
pub fn poll<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            if !POLLING.get() {
                others(info);
            }
        }));
    });
    POLLING.set(true);
    let polled = catch_unwind(AssertUnwindSafe(act));
    POLLING.set(false);
    polled.map_err(|panic| text(panic.as_ref()).to_owned())
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

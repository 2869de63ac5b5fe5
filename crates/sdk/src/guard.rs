//! One handler under guard: panics and timeouts become faults, and texts are truncated.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use sagamore_core::{Body, Refusal};

use crate::decided::{Decided, Fault};
use crate::handler::Running;
use crate::meter::Meter;

/// Maximum bytes of a fault's or refusal's text.
const TEXT_BYTES_MAX: usize = 2_000;

/// Runs a handler to its end or to its time limit.
pub(crate) async fn guarded(
    running: Running,
    limit: Option<Duration>,
    meter: &mut Meter,
) -> Decided<Body, Refusal> {
    let caught = AssertUnwindSafe(running).catch_unwind();
    let ended = match limit {
        None => caught.await,
        Some(limit) => match tokio::time::timeout(limit, caught).await {
            Ok(ended) => ended,
            Err(_) => {
                meter.timeouts += 1;
                return Err(Fault::new(format!("the handler took longer than {limit:?}")));
            }
        },
    };
    ended.unwrap_or_else(|panic| {
        meter.panics += 1;
        Err(Fault::new(format!("the handler panicked: {}", panic_text(panic.as_ref()))))
    })
}

/// Returns the text truncated to the stored length, with NUL replaced, which PostgreSQL cannot
/// store.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].replace('\0', "\u{fffd}")
}

/// Returns the text of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

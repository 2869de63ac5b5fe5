//! Execution of one handler: panics and timeouts become faults.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use sagamore_core::{Body, Refusal};

use crate::decided::{Decided, Fault};
use crate::handler::Running;
use crate::meter::Meter;
use crate::text::panic_text;

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

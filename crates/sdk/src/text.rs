//! The texts of faults, refusals and panics, as they are stored.

use std::any::Any;

/// Maximum bytes of a fault's or refusal's text.
const TEXT_BYTES_MAX: usize = 2_000;

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

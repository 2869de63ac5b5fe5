//! Bounds of texts that end up in replies and logs.

/// Maximum bytes of a text of a refusal or a fault.
const TEXT_BYTES_MAX: usize = 2_000;

/// Returns the beginning of a text.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

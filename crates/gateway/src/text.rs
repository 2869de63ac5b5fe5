//! Bounds of texts that end up in replies and logs.

/// Maximum bytes of a text of a refusal or a fault.
const TEXT_BYTES_MAX: usize = 2_000;

/// Returns the beginning of a text. U+0000, which databases do not store, is replaced.
pub(crate) fn clean(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].replace('\0', "\u{fffd}")
}

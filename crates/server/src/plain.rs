//! Sanitizes text from outside, for terminals, which obey control characters, and for shells, into
//! which users paste hints.

use std::borrow::Cow;

/// Escapes every character that a terminal acts on or that reorders text, except line feeds:
/// `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| letter != '\n' && is_control(letter))
}

/// Escapes as [`visible`] does, and line feeds as well.
pub fn in_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_control)
}

/// Escapes every text of a JSON document as [`in_line`] does.
pub fn harmless(json: &[u8]) -> serde_json::Result<String> {
    let mut document = serde_json::from_slice(json)?;
    clean(&mut document);
    serde_json::to_string(&document)
}

/// Escapes the control characters that JSON allows in its texts.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter: char| is_control(letter) && !letter.is_ascii_whitespace()) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match is_control(letter) && !letter.is_ascii_whitespace() {
            // all have at most four digits
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// Quotes text as one word of a POSIX shell, if it needs quotes.
pub fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._:-".contains(letter);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("'{}'", text.replace('\'', r"'\''"))),
    }
}

/// Whether a character is an ASCII or Latin-1 control, a line or paragraph separator, or changes
/// the text direction.
fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match is_bad(letter) {
            true => escaped.extend(letter.escape_default()),
            false => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

fn clean(document: &mut serde_json::Value) {
    match document {
        serde_json::Value::String(text) => {
            let harmless = in_line(text).into_owned();
            *text = harmless;
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(clean),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(clean),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_for_terminals() {
        let evil = "a\x1b[2J\u{9b}31m\u{7f}\u{202e}b\nc";
        assert_eq!(visible(evil), "a\\u{1b}[2J\\u{9b}31m\\u{7f}\\u{202e}b\nc");
        assert_eq!(in_line(evil), "a\\u{1b}[2J\\u{9b}31m\\u{7f}\\u{202e}b\\nc");
        assert_eq!(in_line("Grüße, 日本"), "Grüße, 日本");
        let shown = harmless(br#"{"detail":"a\u001b[2J","deep":[{"x":"\u009b"}]}"#).expect("JSON");
        let read: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({ "detail": "a\\u{1b}[2J", "deep": [{ "x": "\\u{9b}" }] })
        );
    }

    /// Scripts must parse the same document.
    #[test]
    fn json_with_escaped_control_characters_parses_to_the_same_document() {
        let text = "{\"a\": \"x\u{9b}31m\u{7f}\"}\n";
        assert_eq!(json(text), "{\"a\": \"x\\u009b31m\\u007f\"}\n");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&json(text)), read(text));
    }

    #[test]
    fn a_hint_for_pasting_is_one_word_of_a_shell() {
        assert_eq!(quoted("checkout:10248"), "checkout:10248");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("a;rm -rf ~"), "'a;rm -rf ~'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(id)"), "'$(id)'");
        assert_eq!(quoted("-x"), "'-x'");
        assert_eq!(quoted(""), "''");
    }
}

//! The canonical spelling of a JSON text: equal for all texts of the same meaning.
//!
//! White space, the order of members, escapes in strings and the spelling of numbers do not matter.
//! Numbers are compared exactly, by sign, digits and exponent, and are never expanded.
//!
//! A text that JSON readers may interpret differently has no canonical spelling. It has half a
//! surrogate pair, more than [`DEPTH_MAX`] levels, an exponent beyond 18 digits, or a duplicate
//! member name.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Maximum nesting, where most JSON readers stop. Deeper texts are compared byte for byte.
const DEPTH_MAX: usize = 127;
/// Maximum digits of an exponent, so that sums of exponents fit into 64 bits.
const EXPONENT_DIGITS_MAX: usize = 18;

/// Returns the canonical spelling of valid JSON; `None` if JSON readers may interpret the text
/// differently.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut reader = Reader { text, at: 0 };
    let mut spelling = String::with_capacity(text.len());
    reader.value(0, &mut spelling)?;
    reader.space();
    (reader.at == text.len()).then_some(spelling)
}

/// A position in a JSON text. An unexpected byte ends the parse without a panic.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize, out: &mut String) -> Option<()> {
        self.space();
        match self.peek()? {
            b'{' => self.object(depth + 1, out),
            b'[' => self.array(depth + 1, out),
            b'"' => {
                let string = self.string()?;
                out.push_str(&serde_json::to_string(&string).ok()?);
                Some(())
            }
            b'-' | b'0'..=b'9' => {
                let text = self.while_in(|byte| {
                    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                });
                number(text, out)
            }
            b't' | b'f' | b'n' => {
                out.push_str(self.while_in(|byte| byte.is_ascii_lowercase()));
                Some(())
            }
            _ => None,
        }
    }

    fn object(&mut self, depth: usize, out: &mut String) -> Option<()> {
        let mut members: BTreeMap<String, String> = BTreeMap::new();
        self.items(depth, b'}', |reader| {
            let name = reader.string()?;
            reader.space();
            reader.take(b':')?;
            let mut value = String::new();
            reader.value(depth, &mut value)?;
            // JSON readers differ on which duplicate member wins
            members.insert(name, value).is_none().then_some(())
        })?;
        let mut before = '{';
        for (name, value) in members {
            write!(out, "{before}{}:{value}", serde_json::to_string(&name).ok()?).ok()?;
            before = ',';
        }
        out.push_str(if before == '{' { "{}" } else { "}" });
        Some(())
    }

    fn array(&mut self, depth: usize, out: &mut String) -> Option<()> {
        let mut before = '[';
        self.items(depth, b']', |reader| {
            out.push(std::mem::replace(&mut before, ','));
            reader.value(depth, out)
        })?;
        out.push_str(if before == '[' { "[]" } else { "]" });
        Some(())
    }

    /// Reads a comma-separated list between two brackets.
    fn items(
        &mut self,
        depth: usize,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.at += 1; // the opening bracket
        self.space();
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.take(b',').is_none() {
                return self.take(end);
            }
        }
    }

    /// Reads a string and resolves its escapes; `None` if they leave half a surrogate pair.
    fn string(&mut self) -> Option<String> {
        let begin = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break self.at += 1,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        serde_json::from_str(self.text.get(begin..self.at)?).ok()
    }

    fn space(&mut self) {
        self.while_in(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn while_in(&mut self, member: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().position(|byte| !member(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let found = self.peek()? == wanted;
        self.at += usize::from(found);
        found.then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// Writes a number as sign, digits without zeros at either end, and exponent: `-1200` and `-1.2E+3`
/// as `-12e2`. Zero keeps its sign, as it does in many readers.
fn number(text: &str, out: &mut String) -> Option<()> {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    out.push_str(sign);
    if significant.is_empty() {
        out.push('0'); // for any exponent
        return Some(());
    }
    let exponent =
        exponent_of(exponent)? - i64::try_from(fraction.len()).ok()? + i64::try_from(zeros).ok()?;
    write!(out, "{significant}e{exponent}").ok()
}

fn exponent_of(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.trim_start_matches('0');
    match digits.len() {
        0 => Some(0),
        1..=EXPONENT_DIGITS_MAX => Some(sign * digits.parse::<i64>().ok()?),
        _ => None,
    }
}

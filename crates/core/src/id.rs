//! Names, saga ids and step keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Maximum bytes of a name.
pub const NAME_BYTES_MAX: usize = 100;
/// Maximum bytes of a business key.
pub const KEY_BYTES_MAX: usize = 200;
/// Maximum bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Maximum bytes of a text that an error message quotes.
const QUOTED_BYTES_MAX: usize = 200;

/// The name of a definition, step, participant or message: `charge-payment`, `payment.charge`.
///
/// Lower-case letters, digits, `-` and `.`, with a letter first. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The identity of a saga: definition name and business key, written `checkout:10248`. Clones share
/// the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SagaId(Arc<str>);

/// The direction of a step's command: its action, its compensation, or a query of the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Executes the step's own local transaction.
    Action,
    /// Undoes the action.
    Compensation,
    /// Queries whether the action took effect, at a participant without a barrier.
    Query,
}

/// The key under which a step takes effect at most once: saga, step, direction and generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// The saga that sends the command.
    pub saga: SagaId,
    /// The step's name in the definition.
    pub step: Name,
    /// Whether the key belongs to the action, to the compensation or to a query of the action.
    pub direction: Direction,
    /// 1, plus one for each operator's retry of a stored refusal. A query has its action's
    /// generation.
    pub generation: u32,
}

/// A text that is not a valid name, key or id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a [`Name`].
    #[error(
        "'{0}' is not a name: use a-z, 0-9, '-' and '.', a letter first, at most {NAME_BYTES_MAX} \
         bytes"
    )]
    Name(String),
    /// Not a business key.
    #[error(
        "'{0}' is not a business key: use 1 to {KEY_BYTES_MAX} bytes without control characters"
    )]
    Key(String),
    /// A business key that no URL can address: it is a path segment with a special meaning.
    #[error(
        "'{0}' is not a business key: as a URL path segment it means another page. Use another key"
    )]
    Dots(String),
    /// Not an idempotency key.
    #[error(
        "'{0}' is not an idempotency key: use 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes without \
         control characters"
    )]
    Idempotency(String),
    /// Not a [`SagaId`].
    #[error("'{0}' is not a saga id: write DEFINITION:KEY, like checkout:10248")]
    Saga(String),
}

impl Name {
    /// Parses a name.
    pub fn new(text: &str) -> Result<Name, Malformed> {
        check_name(text)?;
        Ok(Name(Arc::from(text)))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SagaId {
    /// Builds the id of `definition`'s saga with this business key.
    pub fn new(definition: &Name, key: &str) -> Result<SagaId, Malformed> {
        check_key(key)?;
        check_dots(key)?; // parsing a whole id skips this check: stored ids must stay readable
        Ok(SagaId(Arc::from(format!("{definition}:{key}"))))
    }

    /// Returns every id that a text may mean, at least one: the text as an id, then as a business
    /// key of `definition`.
    ///
    /// A key may hold colons, so `a:b` has both readings, and `2024:17` only the second. Callers
    /// take the first saga that exists.
    ///
    /// # Errors
    /// The text is empty, too long, or holds control characters.
    pub fn readings(text: &str, definition: &Name) -> Result<Vec<SagaId>, Malformed> {
        let by_key = SagaId::new(definition, text);
        match text.parse::<SagaId>() {
            Ok(id) => Ok(std::iter::once(id).chain(by_key.ok()).collect()),
            Err(_) => Ok(vec![by_key?]),
        }
    }

    /// Returns the whole id, such as `checkout:10248`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the definition's name, such as `checkout`.
    pub fn definition(&self) -> &str {
        self.split().0
    }

    /// Returns the business key, such as `10248`.
    pub fn key(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        self.0.split_once(':').expect("a saga id holds a colon")
    }
}

impl StepKey {
    /// Returns the command's id, such as `checkout:10248/charge-payment/action/1`. Every resend has
    /// the same id.
    pub fn command_id(&self) -> String {
        format!("{}/{}/{}/{}", self.saga, self.step, self.direction, self.generation)
    }
}

impl FromStr for SagaId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<SagaId, Malformed> {
        let (definition, key) =
            text.split_once(':').ok_or_else(|| Malformed::Saga(quoted(text)))?;
        check_name(definition)?;
        check_key(key)?;
        Ok(SagaId(Arc::from(text)))
    }
}

fn check_name(text: &str) -> Result<(), Malformed> {
    let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let sound = first && text.len() <= NAME_BYTES_MAX && text.bytes().all(legal);
    if sound { Ok(()) } else { Err(Malformed::Name(quoted(text))) }
}

fn check_key(key: &str) -> Result<(), Malformed> {
    let sound = !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(Malformed::Key(quoted(key))) }
}

/// Rejects `.` and `..`: even percent-encoded, URL parsers resolve them as path segments.
pub fn check_dots(key: &str) -> Result<(), Malformed> {
    if [".", ".."].contains(&key) { Err(Malformed::Dots(key.to_owned())) } else { Ok(()) }
}

/// Checks a client's idempotency key. Every interface applies the same rule.
pub fn check_idempotency_key(key: &str) -> Result<(), Malformed> {
    let sound = !key.is_empty()
        && key.len() <= IDEMPOTENCY_KEY_BYTES_MAX
        && !key.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(Malformed::Idempotency(quoted(key))) }
}

/// Returns at most `QUOTED_BYTES_MAX` bytes of a text.
fn quoted(text: &str) -> String {
    let beginning = &text[..text.floor_char_boundary(QUOTED_BYTES_MAX)];
    if beginning.len() < text.len() { format!("{beginning}...") } else { text.to_owned() }
}

impl FromStr for Name {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Name, Malformed> {
        Name::new(text)
    }
}

impl FromStr for Direction {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Direction, Malformed> {
        match text {
            "action" => Ok(Direction::Action),
            "compensation" => Ok(Direction::Compensation),
            "query" => Ok(Direction::Query),
            other => Err(Malformed::Name(quoted(other))),
        }
    }
}

impl Direction {
    /// Returns `action` or `compensation`, as in headers and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Action => "action",
            Direction::Compensation => "compensation",
            Direction::Query => "query",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Name {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Name, Malformed> {
        Name::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.as_str().to_owned()
    }
}

impl TryFrom<String> for SagaId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<SagaId, Malformed> {
        text.parse()
    }
}

impl From<SagaId> for String {
    fn from(id: SagaId) -> String {
        id.as_str().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let found = SagaId::readings(text, &Name::new("checkout").unwrap())
            .unwrap_or_else(|why| panic!("{why}"));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_text_may_be_read_as_an_id_and_as_a_key() {
        assert_eq!(readings("10248"), ["checkout:10248"]);
        assert_eq!(readings("2024:17"), ["checkout:2024:17"]);
        assert_eq!(readings("a:b"), ["a:b", "checkout:a:b"]);
        assert_eq!(readings("checkout:5"), ["checkout:5", "checkout:checkout:5"]);
        assert_eq!(readings(":"), ["checkout::"]);
        assert_eq!(readings("a:"), ["checkout:a:"]);
        assert_eq!(readings("No:colon"), ["checkout:No:colon"]);
        let longest = format!("checkout:{}", "k".repeat(KEY_BYTES_MAX));
        assert_eq!(readings(&longest), [longest.as_str()], "the whole id is too long to be a key");
        for bad in ["", "a\0b", "a:\n", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(SagaId::readings(bad, &Name::new("checkout").unwrap()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_with_any_printable_character_survives_a_round_trip() {
        let definition = Name::new("checkout").unwrap();
        for letter in
            (' '..='~').chain('\u{a0}'..='\u{2ff}').chain(['日', '😀', '\u{feff}', '\u{10ffff}'])
        {
            for key in [format!("{letter}:"), format!("k{letter}9"), format!("{letter}{letter}:")] {
                let id = SagaId::new(&definition, &key).unwrap();
                assert_eq!(id.as_str().parse::<SagaId>().unwrap(), id, "{key}");
                assert_eq!((id.definition(), id.key()), ("checkout", key.as_str()));
                let (by_id, by_key) = (readings(id.as_str()), readings(&key));
                assert_eq!(
                    (by_id[0].as_str(), by_key.last().map(String::as_str)),
                    (id.as_str(), Some(id.as_str()))
                );
            }
        }
    }

    #[test]
    fn an_error_quotes_only_the_beginning_of_a_long_text() {
        let endless = "ä".repeat(50_000);
        let check = |malformed: Malformed| {
            let text = malformed.to_string();
            assert!(text.starts_with("'ä") && text.contains("ä...'") && text.len() < 400, "{text}");
        };
        check(Name::new(&endless).unwrap_err());
        check(endless.parse::<SagaId>().unwrap_err());
        check(endless.parse::<Direction>().unwrap_err());
        check(SagaId::new(&Name::new("checkout").unwrap(), &endless).unwrap_err());
    }
}

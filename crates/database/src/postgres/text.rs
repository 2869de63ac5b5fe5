//! The classification of statements: whether one writes, and that none ends the transaction.

use crate::error::Error;

/// The meaning of a statement's row count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Rows that were read.
    Reads,
    /// Rows that were written; 0 for a change of the schema.
    Writes,
    /// A statement that writes in some of its parts. The count is that of the last part's rows,
    /// read or written.
    Both,
}

/// Keywords that begin or end transactions, or whose effect outlives the transaction on a shared
/// connection.
const CONTROL: &[&str] = &[
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "DISCARD",
    "RESET",
    "LISTEN",
    "UNLISTEN",
];
/// Words that may follow SET, because such a setting ends with the transaction.
const SETTABLE: &[&str] = &["LOCAL", "CONSTRAINTS"];
const READS: &[&str] = &["SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN"];
const WRITES: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Semicolon,
    Other,
}

/// Classifies one statement.
pub(super) fn effect(sql: &str) -> Result<Effect, Error> {
    match effects(sql)?.first() {
        Some(effect) => Ok(*effect),
        None => Err(Error::Statement("it is empty".into())),
    }
}

/// Classifies the statements of a text.
pub(super) fn effects(sql: &str) -> Result<Vec<Effect>, Error> {
    let mut tokens = Tokens { rest: sql }.peekable();
    let mut effects = Vec::new();
    while tokens.peek().is_some() {
        let statement: Vec<Token<'_>> =
            tokens.by_ref().take_while(|token| *token != Token::Semicolon).collect();
        effects.extend(effect_of(&statement)?);
    }
    Ok(effects)
}

/// Classifies a statement; `None` for an empty one.
fn effect_of(statement: &[Token<'_>]) -> Result<Option<Effect>, Error> {
    let mut words = statement.iter().filter_map(|token| match token {
        Token::Word(word) => Some(*word),
        Token::Open | Token::Close | Token::Semicolon | Token::Other => None,
    });
    let (Some(first), second) = (words.next(), words.next()) else { return Ok(None) };
    let sets =
        first.eq_ignore_ascii_case("SET") && !second.is_some_and(|word| is_one_of(word, SETTABLE));
    if sets || is_one_of(first, CONTROL) {
        return Err(Error::Statement(format!(
            "{first} is not allowed in a statement: `Database` and `Open` open and end \
             transactions, and settings \
             must end with them (SET LOCAL)"
        )));
    }
    Ok(Some(if is_one_of(first, READS) {
        Effect::Reads
    } else if !first.eq_ignore_ascii_case("WITH") {
        Effect::Writes
    } else if writes_in_part(statement) {
        Effect::Both
    } else {
        Effect::Reads
    }))
}

/// Returns whether a part of a WITH statement writes. Parts follow `(`, the final part follows `)`.
/// `FOR UPDATE` and `DO UPDATE` follow words.
fn writes_in_part(statement: &[Token<'_>]) -> bool {
    statement.windows(2).any(|pair| match pair {
        [Token::Open | Token::Close, Token::Word(word)] => is_one_of(word, WRITES),
        _ => false,
    })
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// The tokens of a text, without comments. A quoted text is one token.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let first = self.rest.chars().next()?;
        Some(match first {
            '(' => self.piece(1, Token::Open),
            ')' => self.piece(1, Token::Close),
            ';' => self.piece(1, Token::Semicolon),
            '\'' | '"' => self.piece(quoted(self.rest, first, false), Token::Other),
            '$' => self.piece(dollar_quoted(self.rest).unwrap_or(1), Token::Other),
            _ if first.is_alphabetic() || first == '_' => self.word(),
            _ => self.piece(first.len_utf8(), Token::Other),
        })
    }
}

impl<'a> Tokens<'a> {
    fn piece(&mut self, length: usize, token: Token<'a>) -> Token<'a> {
        self.rest = &self.rest[length..];
        token
    }

    /// Reads a word, or a text with escapes: `E'it\'s'`.
    fn word(&mut self) -> Token<'a> {
        let length = self.rest.find(|letter: char| !is_of_word(letter)).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(length);
        if word.eq_ignore_ascii_case("E") && after.starts_with('\'') {
            return self.piece(1 + quoted(after, '\'', true), Token::Other);
        }
        self.piece(length, Token::Word(word))
    }

    fn skip_blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let length = if self.rest.starts_with("--") {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else if self.rest.starts_with("/*") {
                comment(self.rest)
            } else {
                return;
            };
            self.rest = &self.rest[length..];
        }
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// Returns the length of the quoted text at the beginning. A doubled quote reads as two quoted
/// texts, with the same result.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1);
    while let Some((place, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            return place + 1;
        }
    }
    text.len()
}

/// Returns the length of `$$..$$` or `$tag$..$tag$`; `None` for a parameter.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag_end = 1 + text[1..].find('$')?;
    let tag = &text[..=tag_end];
    let name = &tag[1..tag_end];
    if name.starts_with(|letter: char| letter.is_ascii_digit()) || !name.chars().all(is_of_word) {
        return None;
    }
    Some(text[tag.len()..].find(tag).map_or(text.len(), |end| tag.len() + end + tag.len()))
}

/// Returns the length of a comment. Comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut place) = (0_u32, 0);
    while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            place += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else {
            place += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_statements_are_distinguished_from_reading_ones() {
        let cases: &[(&str, Effect)] = &[
            ("SELECT 1", Effect::Reads),
            (
                "  -- first; BEGIN\n /* a /* b */ COMMIT; */ select a FROM b FOR UPDATE",
                Effect::Reads,
            ),
            ("(SELECT 1) UNION (SELECT 2)", Effect::Reads),
            ("INSERT INTO a (b) VALUES ($1)", Effect::Writes),
            ("CREATE TABLE a (b TEXT)", Effect::Writes),
            ("WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE", Effect::Reads),
            ("WITH a AS (UPDATE b SET c = 1 RETURNING c) SELECT c FROM a", Effect::Both),
            (
                "WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a ON CONFLICT (c) DO UPDATE SET \
                 d = 1",
                Effect::Both,
            ),
            ("WITH a AS (SELECT '(DELETE', \"(UPDATE\", $x$(INSERT$x$) SELECT 1", Effect::Reads),
            ("SET LOCAL statement_timeout = 0", Effect::Writes),
        ];
        for (sql, expected) in cases {
            assert_eq!(effect(sql), Ok(*expected), "{sql}");
        }
    }

    #[test]
    fn statements_that_end_or_outlive_the_transaction_are_rejected() {
        for sql in [
            "COMMIT",
            " end ",
            "/* x */ rollback",
            "--\nBEGIN",
            "SELECT 1; COMMIT",
            "SELECT ';'; ;; abort",
            "SET a = 1",
            "INSERT INTO a VALUES (E'it\\'s'); SAVEPOINT b",
            "SELECT $$ ; $$; RELEASE b",
            "SELECT $1; START TRANSACTION",
            "SELECT 'it''s'; PREPARE TRANSACTION 'x'",
            "SELECT 1 /* open; */; DISCARD ALL",
        ] {
            assert!(matches!(effects(sql), Err(Error::Statement(_))), "{sql}");
        }
        for sql in [
            "SELECT 'COMMIT; COMMIT'",
            "SELECT \"a;COMMIT\" FROM b",
            "SELECT $tag$; COMMIT $tag$",
            "SELECT a$; -- COMMIT",
        ] {
            assert_eq!(effects(sql).map(|effects| effects.len()), Ok(1), "{sql}");
        }
        assert_eq!(
            effects("CREATE TABLE a (b TEXT); INSERT INTO a VALUES ('x;y');;"),
            Ok(vec![Effect::Writes; 2])
        );
        assert!(matches!(effect(" ; -- nothing"), Err(Error::Statement(_))));
        for unfinished in ["SELECT 'a", "SELECT \"a", "SELECT /* a", "SELECT $a$ b", "SELECT E'\\"]
        {
            assert_eq!(effect(unfinished), Ok(Effect::Reads), "the server reports the error");
        }
    }
}

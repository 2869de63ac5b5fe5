//! A test file as written: the keys of YAML, and the rules for combining them.

use std::fmt;
use std::path::PathBuf;

use sagamore_core::body::Body;
use sagamore_core::id::{Direction, Name};
use sagamore_core::message::{Outcome, Refusal};
use sagamore_core::saga::{Status, Verb};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::case::{Answer, CASES_MAX, Case, LINES_MAX, Line, LineKind, Place, TestFile};
use super::yaml;
use crate::pointer::Pointer;
use crate::times::duration;
use crate::violation::{Finding, Violation};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    definition: Spanned<String>,
    cases: Vec<Spanned<WrittenCase>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCase {
    name: String,
    given: Spanned<WrittenStart>,
    then: Vec<Spanned<WrittenLine>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStart {
    key: Option<String>,
    input: Value,
}

/// The keys of a line. One key is the assertion or input; the others qualify it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Keys {
    sends: Option<Names>,
    undoes: Option<Names>,
    answers: Option<Name>,
    late: Option<Name>,
    after: Option<Spanned<String>>,
    cancel: Option<Cancelled>,
    brokers: Option<Brokers>,
    retry: Option<Name>,
    skip: Option<Name>,
    resolve: Option<Name>,
    ends: Option<End>,
    exactly: Option<Spanned<Value>>,
    #[serde(deserialize_with = "present")]
    done: Option<Value>,
    refused: Option<WrittenRefusal>,
    fault: Option<String>,
    silent: Option<bool>,
    set_aside: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRefusal {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cancelled {
    TooLate,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Brokers {
    Unavailable,
    Recovered,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Completed,
    Compensated,
}

/// One message, or several in parallel.
struct Names(Vec<Name>);

/// A line: a word, or keys.
enum WrittenLine {
    Word(String),
    Keys(Box<Keys>),
}

/// Parses a test file.
pub fn parse(text: &str) -> Result<TestFile, Violation> {
    let WrittenFile { definition, cases } = yaml::parse(text)?;
    let at = place(definition.referenced);
    if cases.is_empty() || cases.len() > CASES_MAX {
        return Err(at.fault(format!("write 1 to {CASES_MAX} cases, not {}", cases.len())));
    }
    let cases = cases.into_iter().map(case).collect::<Result<_, _>>()?;
    Ok(TestFile { definition: PathBuf::from(definition.value), at, cases })
}

fn case(written: Spanned<WrittenCase>) -> Result<Case, Violation> {
    let WrittenCase { name, given, then } = written.value;
    if then.is_empty() || then.len() > LINES_MAX {
        let at = place(written.referenced);
        return Err(at.fault(format!("write 1 to {LINES_MAX} lines, not {}", then.len())));
    }
    let at = place(given.referenced);
    let WrittenStart { key, input } = given.value;
    let lines = then.into_iter().map(line).collect::<Result<_, _>>()?;
    Ok(Case { name, key, input: body(at, &input)?, given: at, lines })
}

fn line(written: Spanned<WrittenLine>) -> Result<Line, Violation> {
    let at = place(written.referenced);
    match written.value {
        WrittenLine::Word(word) => {
            let kind = match word.as_str() {
                "cancel" => LineKind::Cancel,
                "stuck" => LineKind::Rests(Status::Stuck),
                _ => {
                    return Err(at.fault(format!(
                        "unknown line '{word}': write cancel, stuck, or KEY: VALUE such as sends: \
                         MESSAGE"
                    )));
                }
            };
            Ok(Line { at, kind, exactly: None, answer: None })
        }
        WrittenLine::Keys(mut keys) => {
            let answer = keys.take_answer(at)?;
            let exactly = match keys.exactly.take() {
                None => None,
                Some(fields) => {
                    let at = place(fields.referenced);
                    Some((at, body(at, &fields.value)?))
                }
            };
            let line = Line { at, kind: keys.into_kind(at)?, exactly, answer };
            checked(line)
        }
    }
}

impl Keys {
    fn take_answer(&mut self, at: Place) -> Result<Option<Answer>, Violation> {
        let done = match self.done.take() {
            None => None,
            Some(Value::Null) => Some(Body::empty()),
            Some(output) => Some(body(at, &output)?),
        };
        let refusal = |WrittenRefusal { code, message }| Refusal { code, message };
        let mut answers = [
            done.map(|output| Answer::Outcome(Outcome::Done(output))),
            self.refused.take().map(|refused| Answer::Outcome(Outcome::Refused(refusal(refused)))),
            self.fault.take().map(|text| Answer::Outcome(Outcome::Fault(text))),
            self.silent.take().filter(|silent| *silent).map(|_| Answer::Silence),
            self.set_aside.take().map(Answer::SetAside),
        ]
        .into_iter()
        .flatten();
        match (answers.next(), answers.next()) {
            (answer, None) => Ok(answer),
            (_, Some(_)) => Err(at.fault(
                "the line has two answers: keep one of done, refused, fault, silent, setAside",
            )),
        }
    }

    /// Returns the meaning of the keys other than fields and answer, exactly one of which is given.
    fn into_kind(self, at: Place) -> Result<LineKind, Violation> {
        let after = match self.after {
            None => None,
            Some(text) => {
                let passed = duration(&text.value);
                Some(passed.map_err(|why| place(text.referenced).fault(why))?)
            }
        };
        let sends = |direction| move |Names(messages)| LineKind::Sends(direction, messages);
        let rescue = |verb| move |step| LineKind::Rescue(verb, step);
        let mut kinds = [
            self.sends.map(sends(Direction::Action)),
            self.undoes.map(sends(Direction::Compensation)),
            self.answers.map(LineKind::Answers),
            self.late.map(LineKind::Late),
            after.map(LineKind::After),
            self.cancel.map(|Cancelled::TooLate| LineKind::CancelTooLate),
            self.brokers.map(|brokers| match brokers {
                Brokers::Unavailable => LineKind::BrokersUnavailable,
                Brokers::Recovered => LineKind::BrokersRecovered,
            }),
            self.retry.map(rescue(Verb::Retry)),
            self.skip.map(rescue(Verb::Skip)),
            self.resolve.map(rescue(Verb::Resolve)),
            self.ends.map(|end| {
                LineKind::Rests(match end {
                    End::Completed => Status::Completed,
                    End::Compensated => Status::Compensated,
                })
            }),
        ]
        .into_iter()
        .flatten();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(kind),
            _ => Err(at.fault(
                "the line has none or several of sends, undoes, answers, late, after, cancel, \
                 brokers, retry, skip, resolve, ends: write one a line",
            )),
        }
    }
}

/// Rejects fields and answers that the kind of line does not use, and requires those that it needs.
fn checked(line: Line) -> Result<Line, Violation> {
    let Line { at, kind, exactly, answer } = &line;
    let is_bare = exactly.is_none() && answer.is_none();
    let why = match kind {
        LineKind::Sends(_, messages) if messages.is_empty() => "the list is empty: name a message",
        LineKind::Sends(_, messages) if messages.len() > 1 && !is_bare => {
            "the line has several messages: write `answers: MESSAGE` with the fields and answer of \
             each"
        }
        LineKind::Answers(_) if is_bare => {
            "the line has no answer: add done, refused, fault, silent or setAside"
        }
        LineKind::Late(_) if exactly.is_some() => "remove exactly: a late reply has no fields",
        LineKind::Late(_) if !matches!(answer, Some(Answer::Outcome(_))) => {
            "the late reply has no outcome: add done, refused or fault"
        }
        LineKind::Sends(..) | LineKind::Answers(_) | LineKind::Late(_) => return Ok(line),
        _ if is_bare => return Ok(line),
        _ => "only sends, undoes, answers and late have fields or an answer: remove them",
    };
    Err(at.fault(why))
}

impl Place {
    fn fault(self, why: impl fmt::Display) -> Violation {
        Violation::new(Finding::new(Pointer::root(), why), (self.line, self.column))
    }
}

fn place(at: Location) -> Place {
    Place { line: at.line(), column: at.column() }
}

fn body(at: Place, value: &impl Serialize) -> Result<Body, Violation> {
    Body::of(value).map_err(|error| at.fault(error.to_string()))
}

/// A key without a value is present, and null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message or a list of messages")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names(vec![Name::new(text).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for WrittenLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WrittenLine, D::Error> {
        struct WordOrKeys;

        impl<'de> Visitor<'de> for WordOrKeys {
            type Value = WrittenLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or keys with values")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<WrittenLine, E> {
                Ok(WrittenLine::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<WrittenLine, A::Error> {
                let keys = Keys::deserialize(MapAccessDeserializer::new(keys))?;
                Ok(WrittenLine::Keys(Box::new(keys)))
            }
        }

        deserializer.deserialize_any(WordOrKeys)
    }
}

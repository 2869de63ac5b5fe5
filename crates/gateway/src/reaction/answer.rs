//! The mapping from a response to the result of a reaction. Pure: the one table of all cases.

use std::time::Duration;

use sagamore_core::plan::Part;
use sagamore_core::{Body, Direction, Name, Outcome, Refusal};
use sagamore_transport::wire::REPLY_BYTES_MAX;
use serde::Deserialize;

use crate::answer::{Response, delay, stated};
use crate::outcome;
use crate::text::clean;

/// The end of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReactionEnd {
    /// The participant has answered.
    Result(ReactionResult),
    /// The participant is called again, for this reason, and not before the delay is over.
    Retry(String, Option<Duration>),
    /// No connection was made, so that the call had no effect. It is repeated.
    Unsent(String),
}

/// The answer of a participant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReactionResult {
    /// It is done, and reports this event: its name and data. An undo may leave both to the plan.
    Done(Option<(Name, Body)>),
    /// It is refused, and reports this failure event.
    Failed(Name, Body),
    /// It is refused, for this reason. The plan's first failure event reports it.
    Refused(Refusal),
}

/// The body of `done`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoneBody {
    #[serde(default)]
    events: Vec<EmittedEvent>,
}

/// An event that the participant emits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmittedEvent {
    #[serde(rename = "type")]
    name: String,
    data: Body,
}

/// Returns the end of a call. Anything but a valid answer repeats the call: its key is the same.
pub(crate) fn read(response: &Response, part: &Part<'_>, direction: Direction) -> ReactionEnd {
    let (status, delay) = (response.status, delay(&response.headers));
    let retry = |why: String| ReactionEnd::Retry(why, delay);
    let name = match stated(&response.headers) {
        Ok(Some(name)) => name,
        Ok(None) => {
            return retry(format!(
                "the participant answered {status} without the header Sagamore-Outcome"
            ));
        }
        Err(defect) => return retry(defect.to_string()),
    };
    let Some(body) = &response.body else {
        return retry("the body of the response is too large".to_owned());
    };
    match name {
        "pending" => retry("the participant is not finished".to_owned()),
        "done" if !status.is_success() => {
            retry(format!("Sagamore-Outcome: done with HTTP status {}", status.as_u16()))
        }
        "done" => match done(body, part, direction) {
            Ok(result) => ReactionEnd::Result(result),
            Err(why) => retry(why),
        },
        other => match outcome::read(other, body) {
            Ok(Outcome::Refused(_)) if direction == Direction::Compensation => {
                retry("the participant refuses an undo, which it must do".to_owned())
            }
            Ok(Outcome::Refused(_)) if part.fails.is_empty() => {
                let part = part.name;
                retry(format!("the participant refuses '{part}', which the plan does not allow"))
            }
            Ok(Outcome::Refused(refusal)) => ReactionEnd::Result(ReactionResult::Refused(refusal)),
            Ok(Outcome::Fault(why)) => retry(why),
            Ok(Outcome::Done(_)) => retry("Sagamore-Outcome is not clear".to_owned()),
            Err(defect) => retry(defect.to_string()),
        },
    }
}

/// Reads `{"events":[{"type":"payment.success","data":{..}}]}`.
fn done(body: &[u8], part: &Part<'_>, direction: Direction) -> Result<ReactionResult, String> {
    let wrong = |why: &dyn std::fmt::Display| {
        format!(
            "the body of done is not {{\"events\":[{{\"type\":..,\"data\":..}}]}}: {}",
            clean(&why.to_string())
        )
    };
    let DoneBody { events } = match body {
        [] => DoneBody { events: Vec::new() },
        body => serde_json::from_slice(body).map_err(|error| wrong(&error))?,
    };
    let mut events = events.into_iter();
    let (first, second) = (events.next(), events.next());
    if second.is_some() {
        return Err(wrong(&"a reaction emits one event"));
    }
    let Some(EmittedEvent { name, data }) = first else {
        let may_emit_none = direction == Direction::Compensation || part.emits.is_empty();
        return match may_emit_none {
            true => Ok(ReactionResult::Done(None)),
            false => Err(wrong(&format_args!("add one of {}", list(part.emits)))),
        };
    };
    if data.as_str().len() > REPLY_BYTES_MAX {
        let bytes = data.as_str().len();
        return Err(wrong(&format_args!(
            "the data has {bytes} bytes: send at most {REPLY_BYTES_MAX}"
        )));
    }
    if data.has_nul() {
        return Err(wrong(&"a text has U+0000"));
    }
    let is = |candidate: &&Name| candidate.as_str() == name;
    let undone = part.undo.iter().map(|undo| &undo.emits);
    match direction {
        Direction::Compensation => match undone.clone().find(is) {
            Some(name) => Ok(ReactionResult::Done(Some((name.clone(), data)))),
            None => Err(wrong(&format_args!("'{name}' is not the event of the undo"))),
        },
        Direction::Action | Direction::Query => {
            if let Some(name) = part.emits.iter().find(is) {
                return Ok(ReactionResult::Done(Some((name.clone(), data))));
            }
            match part.fails.iter().find(is) {
                Some(name) => Ok(ReactionResult::Failed(name.clone(), data)),
                None => Err(wrong(&format_args!(
                    "'{name}' is not an event of '{}': {}",
                    part.name,
                    list(&[part.emits, part.fails].concat())
                ))),
            }
        }
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

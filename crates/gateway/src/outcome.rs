//! The outcomes that a participant states, in a response or later: a name, and a body of its form.

use sagamore_core::{Body, Outcome, Refusal};
use sagamore_transport::wire::REPLY_BYTES_MAX;
use serde::Deserialize;

use crate::text::clean;

/// Maximum bytes of a refusal's code.
const CODE_BYTES_MAX: usize = 200;

/// A malformed outcome. The text names the fix in the participant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The name is none of the outcomes.
    #[error(
        "Sagamore-Outcome: '{0}' is not an outcome: send done, refused, fault, pending or \
         unknown, or absent to a query"
    )]
    Name(String),
    /// The header occurs more than once, or its value is not a text.
    #[error("Sagamore-Outcome: send this header once, with a value of ASCII letters")]
    Header,
    /// The header contradicts the status.
    #[error("Sagamore-Outcome: done with HTTP status {0}: send a status from 200 to 299 with done")]
    Status(u16),
    /// The output is not a JSON object.
    #[error("the body of done is not a JSON object: {0}")]
    Output(String),
    /// The output is too large.
    #[error("the body of done has {0} bytes: send at most {REPLY_BYTES_MAX}")]
    TooLarge(usize),
    /// The body of a refusal lacks its code.
    #[error("the body of refused is not {{\"code\":\"..\",\"message\":\"..\"}}: {0}")]
    Refusal(String),
    /// The code is empty or too long.
    #[error("the code of refused has {0} bytes: send 1 to {CODE_BYTES_MAX}")]
    Code(usize),
    /// The code has a U+0000.
    #[error("the code of refused has a U+0000, which databases do not store")]
    Nul,
}

#[derive(Deserialize)]
struct RefusalBody {
    code: String,
    message: Option<String>,
}

/// Reads the outcome `name` with its body.
///
/// # Errors
/// The name is not done, refused or fault, or the body is malformed.
pub(crate) fn read(name: &str, body: &[u8]) -> Result<Outcome, Defect> {
    match name {
        "done" => output(body).map(Outcome::Done),
        "refused" => refusal(body).map(Outcome::Refused),
        "fault" => Ok(Outcome::Fault(reason(body))),
        other => Err(Defect::Name(clean(other))),
    }
}

/// Reads an output. No body is the empty object: it fits a response without content.
fn output(body: &[u8]) -> Result<Body, Defect> {
    if body.is_empty() {
        return Ok(Body::empty());
    }
    if body.len() > REPLY_BYTES_MAX {
        return Err(Defect::TooLarge(body.len()));
    }
    let wrong = |why: &dyn std::fmt::Display| Defect::Output(clean(&why.to_string()));
    let output = Body::from_bytes(body).map_err(|error| wrong(&error))?;
    if output.has_nul() {
        return Err(wrong(&"a text has a U+0000, which databases do not store"));
    }
    match output.as_str().trim_start().starts_with('{') {
        true => Ok(output),
        false => Err(wrong(&"it is another JSON value")),
    }
}

fn refusal(body: &[u8]) -> Result<Refusal, Defect> {
    let RefusalBody { code, message } =
        serde_json::from_slice(body).map_err(|error| Defect::Refusal(clean(&error.to_string())))?;
    if !(1..=CODE_BYTES_MAX).contains(&code.len()) {
        return Err(Defect::Code(code.len()));
    }
    if code.contains('\0') {
        return Err(Defect::Nul);
    }
    let message = message.unwrap_or_else(|| code.clone());
    Ok(Refusal::new(code, clean(&message)))
}

/// Returns the text of a body that states a reason.
pub(crate) fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim() {
        "" => "the participant gave no reason".to_owned(),
        text => clean(text),
    }
}

//! Plays one case of a test file against its definition.

use std::sync::Arc;

use sagamore_core::body::Body;
use sagamore_core::definition::{Definition, InputError};
use sagamore_core::id::{Direction, Malformed, Name, SagaId};
use sagamore_core::message::Command;
use sagamore_core::script::{Mismatch, Player};
use serde_json::Value;

use super::case::{Answer, Case, Line, LineKind, Place};

/// A case that does not hold, with the position of the line.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Failure {
    pub at: Place,
    pub cause: FailureCause,
}

/// The reason why a case fails.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FailureCause {
    /// The business key is not legal.
    #[error(transparent)]
    Key(#[from] Malformed),
    /// The definition does not accept the start.
    #[error(transparent)]
    Start(#[from] InputError),
    /// The behaviour of the saga differs from the line.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Plays a case.
///
/// # Errors
/// Returns the first line that fails.
pub fn play(case: &Case, definition: &Arc<Definition>) -> Result<(), Failure> {
    let mut player = begin(case, definition).map_err(|cause| Failure { at: case.given, cause })?;
    case.lines.iter().try_for_each(|line| play_line(&mut player, line))
}

fn begin(case: &Case, definition: &Arc<Definition>) -> Result<Player, FailureCause> {
    let key = case.key.clone().unwrap_or_else(|| key_of(definition, &case.input));
    let id = SagaId::new(&definition.name, &key)?;
    Ok(Player::start(definition.clone(), id, case.input.clone())?)
}

/// Returns the value of the definition's key field, or `test` without one.
fn key_of(definition: &Definition, input: &Body) -> String {
    let input = input.read::<Value>().unwrap_or_default();
    match definition.key.as_ref().and_then(|field| input.get(field)) {
        Some(Value::String(key)) => key.clone(),
        Some(key) => key.to_string(),
        None => "test".to_owned(),
    }
}

fn play_line(player: &mut Player, line: &Line) -> Result<(), Failure> {
    let at = |at: Place| move |cause: Mismatch| Failure { at, cause: cause.into() };
    let Some(command) = happens(player, line).map_err(at(line.at))? else { return Ok(()) };
    if let Some((place, fields)) = &line.exactly {
        player.carries(&command, fields).map_err(at(*place))?;
    }
    match &line.answer {
        None => Ok(()),
        Some(Answer::Outcome(outcome)) => player.answer(&command, outcome.clone()),
        Some(Answer::Silence) => player.silence(&command),
        Some(Answer::SetAside(reason)) => player.set_aside(&command, reason),
    }
    .map_err(at(line.at))
}

/// Plays what happens in a line. Returns the command to which its fields and answer belong.
fn happens(player: &mut Player, line: &Line) -> Result<Option<Command>, Mismatch> {
    match &line.kind {
        LineKind::Sends(direction, messages) => {
            let names: Vec<&str> = messages.iter().map(Name::as_str).collect();
            player.sends_all(*direction, &names)?;
            if let [message] = names.as_slice() {
                return player.outstanding(*direction, message).map(Some);
            }
        }
        LineKind::Answers(message) => {
            let command = |direction| player.outstanding(direction, message.as_str());
            let found = command(Direction::Action).or_else(|_| command(Direction::Compensation));
            return found.map(Some);
        }
        LineKind::Late(message) => {
            if let Some(Answer::Outcome(outcome)) = &line.answer {
                player.late(message.as_str(), outcome.clone())?;
            }
        }
        LineKind::After(time) => player.time_passes(*time)?,
        LineKind::Cancel => player.cancel()?,
        LineKind::CancelTooLate => player.cancel_comes_too_late()?,
        LineKind::BrokersUnavailable => player.brokers_become_unavailable(),
        LineKind::BrokersRecovered => player.brokers_recover(),
        LineKind::Rescue(verb, step) => player.rescue(step.clone(), *verb)?,
        LineKind::Rests(status) => player.rests_as(*status)?,
    }
    Ok(None)
}

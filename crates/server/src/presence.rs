//! Warnings about messages that no live process handles, for the views of definitions, plans and
//! sagas.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Definition, Name, Plan, Saga, Timestamp};
use sagamore_engine::{Announcements, Error, SentMessage, Warning};

use crate::clock::rfc3339;
use crate::stand_in::StandIns;

/// The characters of a schema's hash in a warning.
const HASH_LENGTH: usize = 12;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The participants that are known to this process, and the announcements of all.
#[derive(Clone)]
pub struct Presence {
    announcements: Announcements,
    /// The participants that are called over HTTP. They need not announce themselves.
    bound: Arc<BTreeSet<Name>>,
    /// The participants that a stand-in plays. They handle every message.
    stand_ins: StandIns,
}

impl Presence {
    /// Creates the view of these announcements.
    pub fn of(
        announcements: Announcements,
        bound: Arc<BTreeSet<Name>>,
        stand_ins: StandIns,
    ) -> Presence {
        Presence { announcements, bound, stand_ins }
    }

    /// Returns the warnings about the commands of a definition. `is_stored`: whether its topics
    /// were created.
    pub(crate) async fn of_definition(
        &self,
        definition: &Definition,
        is_stored: bool,
    ) -> Vec<String> {
        self.logged(SentMessage::of_definition(definition), is_stored).await
    }

    /// Returns the warnings about the events of a plan. `is_stored`: whether its topics were
    /// created.
    pub(crate) async fn of_plan(&self, plan: &Plan, is_stored: bool) -> Vec<String> {
        self.logged(SentMessage::of_plan(plan), is_stored).await
    }

    /// Returns the warnings about the commands that a saga waits for.
    pub(crate) async fn of_saga(&self, saga: &Saga) -> Vec<String> {
        self.logged(SentMessage::awaited_by(saga), true).await
    }

    /// Returns the texts, and none if they cannot be read: a view does not depend on them.
    async fn logged(&self, sent: Vec<SentMessage>, is_stored: bool) -> Vec<String> {
        self.texts(sent, is_stored).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the announcements of participants");
            Vec::new()
        })
    }

    /// Returns the warnings about these messages as texts.
    ///
    /// # Errors
    /// The database failed.
    pub async fn texts(
        &self,
        mut sent: Vec<SentMessage>,
        is_stored: bool,
    ) -> Result<Vec<String>, Error> {
        sent.retain(|message| !self.stand_ins.plays(&message.participant));
        if sent.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.announcements.now().await?;
        let mut warnings = self.announcements.warnings(&sent, now).await?;
        warnings.retain(|warning| match warning {
            Warning::NeverAnnounced { participant } => !self.bound.contains(participant),
            Warning::MissingTopic { .. } => is_stored,
            Warning::NotHandled { .. } | Warning::Gone { .. } | Warning::OtherSchema { .. } => true,
        });
        Ok(warnings.iter().map(|warning| text(warning, now)).collect())
    }
}

/// Returns a warning as a sentence, as of `now`. Times are in UTC.
fn text(warning: &Warning, now: Timestamp) -> String {
    match warning {
        Warning::NeverAnnounced { participant } => {
            format!("{participant}: no process has announced itself")
        }
        Warning::NotHandled { participant, message } => {
            format!("{}: no process handles it", named(participant, message))
        }
        Warning::Gone { participant, message, since } => {
            let (message, since) = (named(participant, message), minute(*since, now));
            format!("{message}: no process since {since}")
        }
        Warning::OtherSchema { participant, message, announced, expected } => {
            let beginning = |hash: &str| hash.chars().take(HASH_LENGTH).collect::<String>();
            format!(
                "{}: a process handles another schema: {} instead of {}",
                named(participant, message),
                beginning(announced),
                beginning(expected)
            )
        }
        Warning::MissingTopic { topic } => {
            format!("{topic}: the topic is missing: create it with `topics apply`")
        }
    }
}

/// Returns the message's name, with the participant unless the name begins with it.
fn named(participant: &Name, message: &Name) -> String {
    let rest = message.as_str().strip_prefix(participant.as_str());
    match rest.is_some_and(|rest| rest.starts_with('.')) {
        true => message.to_string(),
        false => format!("{message} ({participant})"),
    }
}

/// Returns the minute of a moment, with the date if it is older than a day.
fn minute(moment: Timestamp, now: Timestamp) -> String {
    let text = rfc3339(moment);
    match text.get(..16).and_then(|text| text.split_once('T')) {
        Some((_, time)) if now.since(moment) < DAY => time.to_owned(),
        Some((date, time)) => format!("{date} {time}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_warning_names_the_message_and_the_minute() {
        let now = Timestamp(1_795_984_265_125); // 2026-11-29T20:31:05.125Z
        let check = |warning: Warning, expected: &str| assert_eq!(text(&warning, now), expected);
        let gone = |message: &str, ago: Duration| Warning::Gone {
            participant: name("payment"),
            message: name(message),
            since: now.minus(ago),
        };
        check(gone("payment.charge", Duration::ZERO), "payment.charge: no process since 20:31");
        let late = "payment.charge: no process since 20:32";
        check(gone("payment.charge", DAY - Duration::from_secs(60)), late);
        let before = "order.created (payment): no process since 2026-11-28 20:31";
        check(gone("order.created", DAY), before);
        let (participant, message) = (name("payment"), name("payments.charge"));
        let not_handled = "payments.charge (payment): no process handles it";
        check(Warning::NotHandled { participant, message }, not_handled);
        let other = Warning::OtherSchema {
            participant: name("payment"),
            message: name("payment.charge"),
            announced: "5f70bf18a08600700102".to_owned(),
            expected: "short".to_owned(),
        };
        let schemas = "payment.charge: a process handles another schema: 5f70bf18a086 instead of \
            short";
        check(other, schemas);
        let never = Warning::NeverAnnounced { participant: name("payment") };
        check(never, "payment: no process has announced itself");
    }
}

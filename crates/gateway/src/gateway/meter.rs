//! Metrics and logs of calls. A participant that cannot be reached is logged once, not per call.

use metrics::{counter, gauge, histogram};
use sagamore_core::message::{Outcome, ReplyOutcome};

use super::Gateway;
use super::call::CallEnd;
use super::receive::CommandItem;

impl Gateway {
    /// Counts a command that ended with this outcome.
    pub(super) fn count(&self, outcome: &'static str) {
        let participant = self.participant.to_string();
        counter!("sagamore_gateway_calls_total", "participant" => participant, "outcome" => outcome)
            .increment(1);
    }

    /// Reports the number of running calls and the consumer's lag.
    pub(super) fn report(&self) {
        let gauge = |name: &'static str, value: f64| {
            gauge!(name, "participant" => self.participant.to_string()).set(value);
        };
        gauge("sagamore_gateway_in_flight", self.calls.running() as f64);
        if let Some(consumer) = &self.consumer {
            gauge("sagamore_gateway_lag", consumer.lag() as f64);
        }
    }

    /// Counts an ended call, and logs one whose outcome is unknown.
    pub(super) fn observe(&mut self, item: &CommandItem, end: &CallEnd) {
        self.count(match &end.outcome {
            ReplyOutcome::Final(Outcome::Done(_)) => "done",
            ReplyOutcome::Final(Outcome::Refused(_)) => "refused",
            ReplyOutcome::Final(Outcome::Fault(_)) => "fault",
            ReplyOutcome::Pending(_) => "pending",
            ReplyOutcome::Unknown(_) => "unknown",
            ReplyOutcome::Absent => "absent",
        });
        histogram!("sagamore_gateway_call_seconds", "participant" => self.participant.to_string())
            .record(end.took.as_secs_f64());
        let participant = &self.participant;
        if let ReplyOutcome::Unknown(reason) = &end.outcome {
            let command = item.key.command_id();
            tracing::warn!(%participant, command, reason, "unknown outcome");
        }
        match (end.is_reached, &end.outcome) {
            (Some(false), ReplyOutcome::Final(Outcome::Fault(reason))) if !self.is_away => {
                self.is_away = true;
                tracing::warn!(%participant, reason, "participant unreachable, resending");
            }
            (Some(true), _) if self.is_away => {
                self.is_away = false;
                tracing::info!(%participant, "participant is reachable again");
            }
            _ => {}
        }
    }
}

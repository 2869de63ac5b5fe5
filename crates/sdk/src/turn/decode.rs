//! Decoding: each record becomes work, a dead letter, a horizon or nothing. Later phases do not ask
//! again for the kind of a record.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{
    Command, Direction, Event, Horizon, Name, ReplyTo, SagaId, StepKey, Timestamp,
};
use sagamore_transport::Delivery;
use sagamore_transport::wire::{
    HORIZON_TOPIC, Undecodable, decode_command, decode_event, decode_horizon,
};

use super::receive::Received;
use crate::inbox::{Due, InboxRemoval};
use crate::options::Options;
use crate::reaction::Declared;
use crate::service::Service;
use crate::work::{CommandWork, Work, WorkItem};

/// The decoded records of one turn.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// The commands and reactions in order of arrival.
    pub work: Vec<WorkItem>,
    /// The indexes of records to make dead letters, and the reasons.
    pub rejected: Vec<(usize, String)>,
    /// The number of rejected events of a later version of their plan.
    pub later: usize,
    /// The number of expired actions. Their orchestrators resend or compensate.
    pub expired: usize,
    /// The received horizons, each with the address for its answer.
    pub horizons: Vec<(Horizon, Option<ReplyTo>)>,
    /// The number of unreadable horizons. A later horizon replaces them.
    pub unreadable_horizons: usize,
    /// Inbox events whose reaction this program lacks. Another version of the program may have it.
    pub strange: Vec<Due>,
    /// Inbox events to remove, because no version has handled them in time.
    pub removals: Vec<InboxRemoval>,
}

/// Decodes the records of a turn, in their order.
pub(super) fn decode(
    service: &Service,
    options: &Options,
    received: &mut Received,
    now: Timestamp,
) -> Decoded {
    let mut decoded = Decoded::default();
    for (place, delivery) in received.polled().iter().enumerate() {
        decoded.decode_record(service, &options.plans, place, delivery, now);
    }
    for (place, due) in received.take_due() {
        decoded.decode_due(service, place, due, now.minus(options.early_max));
    }
    decoded
}

impl Decoded {
    fn decode_record(
        &mut self,
        service: &Service,
        plans: &[(Name, u32)],
        place: usize,
        delivery: &Delivery,
        now: Timestamp,
    ) {
        if let Some(reason) = &delivery.unreadable {
            return self.rejected.push((place, reason.to_string()));
        }
        if &*delivery.record.topic == HORIZON_TOPIC {
            return self.decode_horizon(delivery);
        }
        let triggered = service.triggered_by(&delivery.record.topic);
        match triggered.is_empty() {
            true => self.decode_command(place, delivery, now),
            false => self.decode_event(&triggered, plans, place, delivery),
        }
    }

    fn decode_horizon(&mut self, delivery: &Delivery) {
        match decode_horizon(&delivery.record) {
            Ok(horizon) => self.horizons.push(horizon),
            Err(defect) => {
                self.unreadable_horizons += 1;
                tracing::warn!(reason = %defect, "cannot read a horizon, waiting for the next one");
            }
        }
    }

    fn decode_command(&mut self, place: usize, delivery: &Delivery, now: Timestamp) {
        match decode_command(&delivery.record).map_err(Box::new) {
            Ok(command) if command.key.generation == 0 => {
                self.rejected.push((place, "the generation is 0: the first is 1".to_owned()));
            }
            Ok(command) if command.key.direction == Direction::Query => {
                let reason = "a query, but this service has a barrier: resend the command instead";
                self.rejected.push((place, reason.to_owned()));
            }
            Ok(command) if is_expired(&command, now) => self.expired += 1,
            Ok(Command { key, reply_to, trace, name, body, .. }) => {
                let command = CommandWork { reply_to, trace, message: Ok((name, body)) };
                self.work.push(WorkItem { place, key, work: Work::Command(command) });
            }
            Err(undecodable) => match *undecodable {
                Undecodable { key: Some(key), reply_to: Some(reply_to), reason, .. }
                    if key.generation > 0 && key.direction != Direction::Query =>
                {
                    let command = CommandWork { reply_to, trace: None, message: Err(reason) };
                    self.work.push(WorkItem { place, key, work: Work::Command(command) });
                }
                Undecodable { reason, .. } => self.rejected.push((place, reason)),
            },
        }
    }

    fn decode_event(
        &mut self,
        triggered: &[(&Arc<Declared>, Direction)],
        plans: &[(Name, u32)],
        place: usize,
        delivery: &Delivery,
    ) {
        let event = match decode_event(&delivery.record) {
            Ok(event) => event,
            Err(defect) => return self.rejected.push((place, defect.to_string())),
        };
        if let Some(reason) = of_a_later_version(&event, plans) {
            self.later += 1;
            return self.rejected.push((place, reason));
        }
        for (declared, direction) in triggered {
            let key = step_of(event.chain(), declared, *direction);
            self.work.push(WorkItem::reaction(place, key, event.clone(), declared, false));
        }
    }

    /// Decodes a due event of the inbox, for the reaction that it waits for. An event without one
    /// since before `early` becomes a dead letter.
    fn decode_due(&mut self, service: &Service, place: usize, due: Due, early: Timestamp) {
        let Due { key, event, strange_since, .. } = &due;
        let triggered = service.triggered_by(event.name.as_str());
        let awaited = triggered
            .into_iter()
            .find(|(declared, direction)| declared.name == key.step && *direction == key.direction);
        if let Some((declared, _)) = awaited {
            self.work.push(WorkItem::reaction(place, due.key, due.event, declared, true));
        } else if strange_since.is_some_and(|since| since < early) {
            let step = &key.step;
            self.rejected.push((
                place,
                format!("no version of this service has the reaction '{step}' that it waited for"),
            ));
            self.removals.push(InboxRemoval { key: due.key, event: Some(due.event.name) });
        } else {
            self.strange.push(due);
        }
    }
}

fn step_of(chain: &SagaId, declared: &Declared, direction: Direction) -> StepKey {
    let (saga, step) = (chain.clone(), declared.name.clone());
    StepKey { saga, step, direction, generation: 1 }
}

/// Returns the reason to reject an event of a later version of a known plan. Events of earlier
/// versions pass, because their chains continue during an upgrade.
fn of_a_later_version(event: &Event, plans: &[(Name, u32)]) -> Option<String> {
    let (plan, known) =
        plans.iter().find(|(plan, _)| plan.as_str() == event.chain().definition())?;
    (event.version > *known).then(|| {
        format!(
            "version: the event says version {} of the plan '{plan}', and this program has version \
             {known}: upgrade it, \
             then have the events of the chain emitted again (reconcile --resend)",
            event.version
        )
    })
}

/// Maximum clock difference between orchestrators and services at which no command is skipped too
/// early.
const DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// Returns whether the command has expired. Compensations never expire, because the step would stay
/// done. Actions expire late, because this service's clock may be ahead of the orchestrator's.
fn is_expired(command: &Command, now: Timestamp) -> bool {
    command.key.direction == Direction::Action
        && command.expires_at.is_some_and(|expires_at| expires_at.plus(DIFFERENCE_MAX) < now)
}

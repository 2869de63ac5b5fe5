//! Receiving: available records become commands to call, dead letters or nothing.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::definition::ParticipantContract;
use sagamore_core::message::{Outcome, Reply};
use sagamore_core::{Command, Direction, Name, ReplyTo, StepKey, Timestamp, TraceContext};
use sagamore_transport::Delivery;
use sagamore_transport::wire::{HORIZON_TOPIC, Undecodable, decode_command, decode_horizon};

use super::Gateway;
use crate::contract::Contracts;
use crate::error::Error;
use crate::ledger::Place;
use crate::sent::Progress;

/// Maximum clock difference between orchestrators and gateways at which no command is skipped too
/// early.
const DIFFERENCE_MAX: Duration = Duration::from_secs(60);

/// A command in hand.
#[derive(Debug)]
pub(super) struct CommandItem {
    pub delivery: Delivery,
    pub key: StepKey,
    pub reply_to: ReplyTo,
    pub trace: Option<TraceContext>,
    pub contract: Arc<ParticipantContract>,
}

impl CommandItem {
    pub fn bytes(&self) -> usize {
        self.delivery.record.bytes()
    }
}

impl Gateway {
    /// Takes as many records as calls may start, and sorts them into lanes.
    pub(super) async fn receive(&mut self) -> Result<(), Error> {
        self.sweep().await;
        let room = self.room();
        let consumer = self.consumer().await?;
        if room == 0 {
            return Ok(());
        }
        let polled = consumer.poll(room).await;
        let deliveries = self.or_resubscribe(polled)?;
        let now = self.now();
        for delivery in deliveries {
            if self.ledger.take(&Place::of(&delivery)) {
                self.sort(delivery, now).await;
            }
        }
        Ok(())
    }

    async fn sort(&mut self, delivery: Delivery, now: Timestamp) {
        if let Some(reason) = delivery.unreadable.clone() {
            return self.bury(delivery, &reason);
        }
        if &*delivery.record.topic == HORIZON_TOPIC {
            self.ledger.finish(&Place::of(&delivery));
            return self.plan_removal(&delivery).await;
        }
        match decode_command(&delivery.record) {
            Ok(command) if command.key.generation == 0 => {
                self.bury(delivery, "the generation is 0: the first is 1")
            }
            Ok(command) if is_expired(&command, now) => {
                self.ledger.finish(&Place::of(&delivery));
                self.count("expired");
            }
            Ok(command) => self.enqueue(delivery, command).await,
            Err(undecodable) => self.reject(delivery, undecodable),
        }
    }

    /// Puts a command into its lane. One of an unknown version is not sent, because its contract is
    /// unknown.
    async fn enqueue(&mut self, delivery: Delivery, command: Command) {
        let contract = contract_of(&command, self.contracts.as_ref(), &self.participant).await;
        let Command { key, reply_to, trace, .. } = command;
        let contract = match contract {
            Ok(contract) => contract,
            Err(reason) => {
                self.count("fault");
                let outcome = Outcome::Fault(reason).into();
                return self.owe(&delivery, Reply { key, outcome, trace }, &reply_to);
            }
        };
        let item = CommandItem { delivery, key, reply_to, trace, contract };
        self.bytes += item.bytes();
        let key = item.key.clone();
        self.lanes.add(&key, item);
    }

    /// Makes an unreadable command a dead letter. If its address is readable, the reply is a fault:
    /// a refusal would be final, and an earlier send may have been readable.
    fn reject(&mut self, delivery: Delivery, undecodable: Undecodable) {
        let Undecodable { key, reply_to, reason, .. } = undecodable;
        if let (Some(key), Some(reply_to)) = (key.filter(|key| key.generation > 0), reply_to) {
            let outcome = Outcome::Fault(format!("the gateway cannot read the command: {reason}"));
            self.owe(&delivery, Reply { key, outcome: outcome.into(), trace: None }, &reply_to);
            self.ledger.expect_another(&Place::of(&delivery));
        }
        self.bury(delivery, &reason);
    }

    /// Schedules the removal of sent commands that a horizon allows.
    async fn plan_removal(&mut self, delivery: &Delivery) {
        match (decode_horizon(&delivery.record), self.calls.sent()) {
            (Ok((horizon, Some(reply_to))), Some(sent)) => match sent.permit(horizon).await {
                Ok(None) => {}
                Ok(Some(permitted)) => self.removal = Some((permitted, reply_to)),
                Err(error) => tracing::warn!(
                    participant = %self.participant, %error, "cannot plan a removal of commands"
                ),
            },
            // observers' horizons cover chains, which have no commands
            (Ok(_), _) => {}
            (Err(defect), _) => {
                tracing::warn!(reason = %defect, "cannot read a horizon, waiting for the next one")
            }
        }
    }

    /// Removes one page of sent commands. A failed removal is dropped, because another horizon
    /// follows.
    async fn sweep(&mut self) {
        let (Some((mut removal, reply_to)), Some(sent)) = (self.removal.take(), self.calls.sent())
        else {
            return;
        };
        match sent.sweep(&mut removal).await {
            Ok(Progress::More) => self.removal = Some((removal, reply_to)),
            Ok(Progress::Complete) => self.acknowledge_removal(removal.before(), &reply_to).await,
            Ok(Progress::Revoked) => {}
            Err(error) => {
                tracing::warn!(
                    participant = %self.participant, %error, "cannot remove sent commands"
                )
            }
        }
    }
}

/// Returns the contract of a command's participant, or why it is not known.
async fn contract_of(
    command: &Command,
    contracts: &dyn Contracts,
    participant: &Name,
) -> Result<Arc<ParticipantContract>, String> {
    let (definition, version) = (command.key.saga.definition(), command.version);
    let name = Name::new(definition).map_err(|error| error.to_string())?;
    match contracts.find(&name, version, participant).await {
        Ok(Some(contract)) => Ok(contract),
        Ok(None) => Err(format!(
            "the gateway does not know {definition}@{version}, so nothing was sent: is its file \
             missing in the gateway's configuration?"
        )),
        Err(error) => Err(format!(
            "the gateway cannot read {definition}@{version}, so nothing was sent: {error}"
        )),
    }
}

/// Returns whether the command has expired. Compensations never expire, because the step would stay
/// done.
fn is_expired(command: &Command, now: Timestamp) -> bool {
    command.key.direction == Direction::Action
        && command.expires_at.is_some_and(|expires_at| expires_at.plus(DIFFERENCE_MAX) < now)
}

//! Receiving: available events become stored reactions or dead letters. Their offsets are committed
//! after that.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::plan::{Part, Plan, Role};
use sagamore_core::{Direction, Event, Timestamp};
use sagamore_transport::wire::{decode_event, decode_horizon};
use sagamore_transport::{Delivery, Mark};

use super::Reactor;
use super::letter::bury;
use crate::error::Error;
use crate::plans::{PlanOfEvent, Plans};
use crate::reaction::{Context, Next, Reaction, StoredRecord};
use crate::reaction_store::{Change, ReactionKey};

/// Maximum events per turn.
const EVENTS_MAX: usize = 200;
/// Maximum horizons per turn.
const HORIZONS_MAX: usize = 10;

impl Reactor {
    /// Takes available events, stores their reactions and commits their offsets.
    pub(super) async fn receive(&mut self) -> Result<(), Error> {
        let room = self.concurrency.saturating_sub(self.running.len());
        let Some(consumer) = &mut self.consumer else { return Ok(()) };
        if room == 0 {
            return Ok(());
        }
        let polled = consumer.poll(EVENTS_MAX).await;
        let deliveries = self.or_resubscribe(polled)?;
        if deliveries.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.take(&deliveries).await {
            self.rewind().await; // the records are redelivered
            return Err(error);
        }
        let marks = Mark::behind(&deliveries);
        if let Some(consumer) = &mut self.consumer {
            let committed = consumer.commit(marks).await;
            self.or_resubscribe(committed)?;
        }
        Ok(())
    }

    /// Returns to the committed offsets without leaving the group, or else resubscribes.
    async fn rewind(&mut self) {
        if let Some(consumer) = &mut self.consumer
            && consumer.rewind().await.is_err()
        {
            self.consumer = None;
        }
    }

    async fn take(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        let (now, store) = (self.now(), self.store().await?);
        let decoded: Vec<Result<Event, String>> = deliveries.iter().map(decoded).collect();
        let is_unknown = |event: &Event| !matches!(self.plans.plan_of(event), PlanOfEvent::Plan(_));
        if decoded.iter().flatten().any(is_unknown) {
            self.plans.refresh().await?; // the events have arrived, so their plans are stored
        }
        let (mut events, mut letters) = (Vec::new(), Vec::new());
        for (delivery, decoded) in deliveries.iter().zip(decoded) {
            match decoded.and_then(|event| planned(&self.plans, event)) {
                Ok(Some((event, plan))) => events.push((delivery, event, plan)),
                Ok(None) => {} // of a foreign plan
                Err(reason) => letters.push((delivery, reason)),
            }
        }
        let mut changes: BTreeMap<ReactionKey, Vec<Change<'_>>> = BTreeMap::new();
        for (delivery, event, plan) in &events {
            for part in plan.parts().filter(|part| *part.service == self.participant) {
                if is_triggered(plan, &part, event) {
                    let key = ReactionKey { chain: event.chain().clone(), step: part.name.clone() };
                    changes.entry(key).or_default().push(change(delivery, event, plan, part, now));
                }
            }
        }
        for key in store.receive(changes, now).await? {
            let affected = events.iter().filter(|(_, event, plan)| {
                let part = plan.parts().find(|part| *part.name == key.step);
                *event.chain() == key.chain
                    && part.is_some_and(|part| is_triggered(plan, &part, event))
            });
            let reason =
                format!("this program cannot read the stored state of reaction '{}'", key.step);
            letters.extend(affected.map(|(delivery, ..)| (*delivery, reason.clone())));
        }
        for (delivery, reason) in letters {
            bury(self.transport.as_ref(), delivery, &reason).await?;
        }
        Ok(())
    }

    /// Removes one page of reactions of chains that ended long ago, as horizons allow.
    pub(super) async fn sweep(&mut self) -> Result<(), Error> {
        if let Some(horizons) = &mut self.horizons {
            let polled = horizons.poll(HORIZONS_MAX).await;
            let deliveries = self.or_resubscribe(polled)?;
            for delivery in &deliveries {
                match decode_horizon(&delivery.record) {
                    // a horizon that is acknowledged is one of sagas
                    Ok((horizon, None)) => {
                        let (now, store) = (self.now(), self.store().await?);
                        let permitted = store.permit(&self.clock, horizon, now).await?;
                        self.removal = permitted.or_else(|| self.removal.take());
                    }
                    Ok((_, Some(_))) => {}
                    Err(defect) => tracing::warn!(reason = %defect, "cannot read a horizon"),
                }
            }
            if let Some(horizons) = self.horizons.as_mut().filter(|_| !deliveries.is_empty()) {
                let committed = horizons.commit(Mark::behind(&deliveries)).await;
                self.or_resubscribe(committed)?;
            }
        }
        if let Some(mut removal) = self.removal.take()
            && self.store().await?.sweep(&mut removal).await?
        {
            self.removal = Some(removal);
        }
        Ok(())
    }
}

/// Decodes the event of a record.
///
/// # Errors
/// The reason of its dead letter.
fn decoded(delivery: &Delivery) -> Result<Event, String> {
    match &delivery.unreadable {
        None => decode_event(&delivery.record).map_err(|defect| defect.to_string()),
        Some(reason) => Err(reason.to_string()),
    }
}

/// Returns an event with its plan; `None` if the plan is foreign. The store was read after the
/// event had arrived.
///
/// # Errors
/// The reason of its dead letter.
fn planned(plans: &Plans, event: Event) -> Result<Option<(Event, Arc<Plan>)>, String> {
    let plan = match plans.plan_of(&event) {
        PlanOfEvent::Plan(plan) => plan,
        PlanOfEvent::Foreign => return Ok(None),
        PlanOfEvent::Unreadable => {
            return Err(format!(
                "this program cannot read its plan {}@{}: upgrade the program, then redrive",
                event.chain().definition(),
                event.version
            ));
        }
        PlanOfEvent::UnknownVersion => {
            return Err(format!(
                "its plan {}@{} is not stored: register it with `apply`, then redrive",
                event.chain().definition(),
                event.version
            ));
        }
    };
    match is_of_its_reaction(&plan, &event) {
        true => Ok(Some((event, plan))),
        false => Err("its reaction does not emit it".to_owned()),
    }
}

/// Returns the change of a reaction by an event.
fn change<'a>(
    delivery: &'a Delivery,
    event: &'a Event,
    plan: &'a Plan,
    part: Part<'a>,
    now: Timestamp,
) -> Change<'a> {
    let new = move || Reaction::new(event.version, &part);
    let apply = move |reaction: &mut Reaction| {
        let context = Context { plan, part, now };
        reaction.receive(&context, event, StoredRecord::of(&delivery.record));
        !matches!(reaction.next(&part), Next::Rest)
    };
    Change { new: Box::new(new), apply: Box::new(apply) }
}

fn is_triggered(plan: &Plan, part: &Part<'_>, event: &Event) -> bool {
    let name = &event.name;
    part.on.contains(name)
        || part.never_after.contains(name)
        || part.undone_on().contains(name)
        || (part.pivot && plan.overdue.as_ref() == Some(name))
}

/// Whether the reaction in the event's id is the one that emits it.
fn is_of_its_reaction(plan: &Plan, event: &Event) -> bool {
    if plan.overdue.as_ref() == Some(&event.name) {
        return event.key.step == event.name;
    }
    plan.emitter(&event.name).is_some_and(|(part, role)| {
        let direction = match role {
            Role::Undone => Direction::Compensation,
            Role::Success | Role::Failure => Direction::Action,
        };
        event.key.step == *part.name && event.key.direction == direction
    })
}

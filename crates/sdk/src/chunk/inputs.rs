//! The inputs of a handler: a command carries its own, and a reaction may wait for several events.

use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::{Body, Direction, StepKey, Timestamp, TraceContext};
use sagamore_database::{Error, Tx};

use super::context::ChunkContext;
use crate::barrier::{StepHistory, Verdict};
use crate::inbox::{self, InboxEntry};
use crate::work::{Work, WorkItem};

/// The inputs of a handler.
pub(crate) enum Inputs {
    /// A command, which carries all its inputs.
    Command,
    /// The body of every awaited event, in declared order. The event with the highest hop counts as
    /// the cause, and its trace continues.
    All { bodies: Vec<Body>, cause: String, hop: u32, trace: Option<TraceContext> },
    /// Some events are missing. The others have waited since this time.
    Missing { names: Vec<&'static str>, since: Timestamp },
}

impl Inputs {
    fn of(events: &[&Event]) -> Inputs {
        let bodies = events.iter().map(|event| event.body.clone()).collect();
        let last = events.iter().max_by_key(|event| (event.hop, event.id()));
        let (hop, cause) = last.map(|event| (event.hop, event.id())).unwrap_or_default();
        let mut traces = last.into_iter().chain(events).filter_map(|event| event.trace.clone());
        Inputs::All { bodies, cause, hop, trace: traces.next() }
    }
}

impl ChunkContext<'_> {
    /// Reads the other events of reactions that need several, in two round trips if there are any.
    pub(super) async fn inputs(
        &self,
        tx: &Tx,
        chunk: &[WorkItem],
        known: &[StepHistory],
    ) -> Result<Vec<Inputs>, Error> {
        let joins = |(item, known): &(&WorkItem, &StepHistory)| match &item.work {
            Work::Command(_) => false,
            Work::Reaction(reaction) => {
                let acts = item.key.direction == Direction::Action && reaction.end.is_none();
                let needs = reaction.declared.inputs.len() > 1;
                needs && acts && known.verdict(&item.key) == Verdict::Act
            }
        };
        let joining: Vec<&WorkItem> =
            chunk.iter().zip(known).filter(joins).map(|(item, _)| item).collect();
        let entries: Vec<InboxEntry<'_>> =
            joining.iter().filter_map(|item| entry(item, inbox::FOR_ANOTHER, None)).collect();
        inbox::store(tx, &entries, self.now).await?;
        let keys: Vec<&StepKey> = joining.iter().map(|item| &item.key).collect();
        let waiting = inbox::waiting(tx, &keys).await?;
        let mut joined = joining.iter().map(|item| &item.key).zip(&waiting).peekable();
        let inputs = chunk.iter().map(|item| {
            let Work::Reaction(reaction) = &item.work else { return Inputs::Command };
            let Some((_, there)) = joined.next_if(|(key, _)| **key == item.key) else {
                return Inputs::of(&[&reaction.event]);
            };
            let wanted = &reaction.declared.inputs;
            let of = |name: &str| {
                there.iter().map(|(event, _)| event).find(|event| event.name.as_str() == name)
            };
            let missing: Vec<&'static str> =
                wanted.iter().map(|input| input.name).filter(|name| of(name).is_none()).collect();
            if !missing.is_empty() {
                let since = there.iter().map(|(_, since)| *since).min().unwrap_or(self.now);
                return Inputs::Missing { names: missing, since };
            }
            let events: Vec<&Event> = wanted.iter().filter_map(|input| of(input.name)).collect();
            Inputs::of(&events)
        });
        Ok(inputs.collect())
    }
}

/// Returns the inbox entry of an event; `None` for a command.
pub(super) fn entry<'a>(
    item: &'a WorkItem,
    pause: Duration,
    why: Option<&'a str>,
) -> Option<InboxEntry<'a>> {
    match &item.work {
        Work::Command(_) => None,
        Work::Reaction(reaction) => {
            Some(InboxEntry { key: &item.key, event: &reaction.event, pause, why })
        }
    }
}

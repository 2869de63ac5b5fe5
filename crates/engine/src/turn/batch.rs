//! The inputs of a turn, and the messages and answers that it owes after its commit.

use std::collections::BTreeMap;

use sagamore_core::Timestamp;
use sagamore_core::id::{SagaId, StepKey};
use sagamore_core::message::{Reply, Swept};
use sagamore_core::saga::{Input, Status};
use sagamore_transport::{Delivery, Record};
use tokio::sync::oneshot;

use super::outgoing::OutgoingCommand;
use super::strays::Stray;
use crate::error::{StartError, VerbError};
use crate::live::Waiter;
use crate::request::{StartRequest, Started, Summary, VerbRequest};

/// The inputs of a turn for each saga, in the order of arrival.
pub(crate) type Arrivals = BTreeMap<SagaId, Vec<Arrival>>;

/// The inputs of a turn, grouped by saga.
#[derive(Default)]
pub(crate) struct Batch {
    pub inputs: usize,
    pub arrivals: Arrivals,
    /// Acknowledgements by participants of removed barrier rows.
    pub swept: Vec<Swept>,
    /// Dead letters of undecodable records.
    pub dead_letters: Vec<Record>,
    /// The number of the transport's rejections among the arrivals.
    pub rejections: usize,
}

/// An input of a saga.
pub(crate) enum Arrival {
    Start(StartRequest),
    Verb(VerbRequest),
    Watch(Waiter),
    Reply(Box<Stray>),
    /// A reply that the database rejects, and the reason.
    Unstorable(Box<Stray>, String),
    Due,
    /// A command of the saga that the transport rejected.
    Rejected(Rejection),
}

/// A command that the transport rejected, as an input of the next turn.
#[derive(Clone, PartialEq)]
pub(crate) struct Rejection {
    pub key: StepKey,
    pub attempt: u32,
    pub reason: String,
    pub lasts: bool,
}

/// The messages and answers that a turn owes after its commit.
#[derive(Default)]
pub(crate) struct Settlement {
    pub sagas: usize,
    pub commands: Vec<OutgoingCommand>,
    /// Dead letters, and replies forwarded to their saga's partition.
    pub dead_letters: Vec<Record>,
    /// Verbs on sagas of other orchestrators, with their partitions.
    pub handed: Vec<(u32, VerbRequest)>,
    /// Answers to verbs of other orchestrators that changed nothing.
    pub refused: Vec<(String, Result<Status, VerbError>)>,
    pub answers: Vec<Answer>,
}

/// An answer to a caller.
pub(crate) enum Answer {
    Start(oneshot::Sender<Result<Started, StartError>>, Result<Started, StartError>),
    Verb(oneshot::Sender<Result<Status, VerbError>>, Result<Status, VerbError>),
    /// The saga is at rest.
    Rest(Summary),
}

impl Batch {
    pub(super) fn add(&mut self, id: SagaId, arrival: Arrival) {
        self.inputs += 1;
        self.arrivals.entry(id).or_default().push(arrival);
    }

    pub(super) fn add_reply(&mut self, reply: Reply, delivery: Delivery, first_seen: Timestamp) {
        let id = reply.key.saga.clone();
        self.add(
            id,
            Arrival::Reply(Box::new(Stray { reply, delivery, first_seen, is_dead: false })),
        );
    }
}

impl Arrival {
    /// Whether this input may change an existing saga.
    pub(crate) fn may_write(&self) -> bool {
        match self {
            Arrival::Start(_) | Arrival::Watch(_) => false,
            Arrival::Verb(_)
            | Arrival::Reply(_)
            | Arrival::Unstorable(..)
            | Arrival::Due
            | Arrival::Rejected(_) => true,
        }
    }
}

impl Rejection {
    pub fn input(&self) -> Input {
        let Rejection { key, attempt, reason, lasts } = self;
        Input::Rejected {
            key: key.clone(),
            attempt: *attempt,
            reason: reason.clone(),
            lasts: *lasts,
        }
    }
}

//! The phases of a turn, each in a file of its own.

mod take;

mod decide;
mod poison;
mod settle;

mod abroad;
mod answer;
mod aside;
mod blocked;
mod clock;
mod debts;
mod letters;
mod outgoing;
mod ownership;
mod pace;
mod parts;
mod send;
mod strays;
mod sweep;
mod takeover;

use std::collections::BTreeMap;

use sagamore_core::id::SagaId;
use sagamore_core::message::{Reply, Swept};
use sagamore_core::saga::Status;
use sagamore_transport::{Delivered, Record};

pub(crate) use abroad::Abroad;
pub(crate) use answer::Answer;
pub(crate) use aside::Aside;
pub(crate) use blocked::Blocked;
pub(crate) use debts::Debts;
pub(crate) use letters::{Rejected, reject};
pub(crate) use outgoing::Outgoing;
pub(crate) use pace::Pace;
pub(crate) use send::Rejection;
pub(crate) use strays::{Stray, Strays};
pub(crate) use sweep::Sweep;
pub(crate) use take::poll;
pub(crate) use takeover::Takeover;

use crate::error::VerbError;
use crate::live::Waiter;
use crate::request::{StartRequest, VerbRequest};

/// What a turn has taken, by saga.
#[derive(Default)]
pub(crate) struct Batch {
    pub inputs: usize,
    pub arrivals: BTreeMap<SagaId, Vec<Arrival>>,
    /// What participants say they have forgotten.
    pub swept: Vec<Swept>,
    /// Records that could not be read at all.
    pub dead_letters: Vec<Record>,
    /// How many of the orchestrator's rejections are among the arrivals.
    pub rejections: usize,
}

/// One thing that has come to a saga.
pub(crate) enum Arrival {
    Start(StartRequest),
    Verb(VerbRequest),
    Watch(Waiter),
    Reply(Box<Stray>),
    /// A reply that the database refuses to hold, and why.
    Unstorable(Box<Stray>, String),
    Due,
    /// The transport rejected a command of the saga.
    Rejected(Rejection),
}

/// What a turn has committed and what it owes the world for that.
#[derive(Default)]
pub(crate) struct Settled {
    pub sagas: usize,
    pub commands: Vec<Outgoing>,
    /// Dead letters, and replies that are sent on to the partition of their saga.
    pub dead_letters: Vec<Record>,
    /// Verbs on sagas of other orchestrators, with their partitions.
    pub handed: Vec<(u32, VerbRequest)>,
    /// Verbs of other orchestrators that led to nothing, with what to answer.
    pub refused: Vec<(String, Result<Status, VerbError>)>,
    pub answers: Vec<Answer>,
}

impl Batch {
    fn add(&mut self, id: SagaId, arrival: Arrival) {
        self.inputs += 1;
        self.arrivals.entry(id).or_default().push(arrival);
    }

    fn add_reply(
        &mut self,
        reply: Reply,
        delivered: Delivered,
        first_seen: sagamore_core::Timestamp,
    ) {
        let id = reply.key.saga.clone();
        self.add(
            id,
            Arrival::Reply(Box::new(Stray { reply, delivered, first_seen, is_dead: false })),
        );
    }
}

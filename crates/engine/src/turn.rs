//! The phases of a turn, one file each.

mod take;

mod decide;
mod poison;
mod settle;

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
mod remote;
mod send;
mod strays;
mod sweep;
mod takeover;
mod unused;

use std::collections::BTreeMap;

use sagamore_core::id::SagaId;
use sagamore_core::message::{Reply, Swept};
use sagamore_core::saga::Status;
use sagamore_transport::{Delivery, Record};

pub(crate) use answer::Answer;
pub(crate) use aside::PendingMarks;
pub(crate) use blocked::BlockedSagas;
pub(crate) use debts::Debts;
pub(crate) use letters::{RejectReason, reject};
pub(crate) use outgoing::OutgoingCommand;
pub(crate) use pace::Pace;
pub(crate) use remote::RemoteSagas;
pub(crate) use send::Rejection;
pub(crate) use strays::{Stray, Strays};
pub(crate) use sweep::Sweep;
pub(crate) use take::poll;
pub(crate) use takeover::Takeover;

use crate::error::VerbError;
use crate::live::Waiter;
use crate::request::{StartRequest, VerbRequest};

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

impl Batch {
    fn add(&mut self, id: SagaId, arrival: Arrival) {
        self.inputs += 1;
        self.arrivals.entry(id).or_default().push(arrival);
    }

    fn add_reply(
        &mut self,
        reply: Reply,
        delivery: Delivery,
        first_seen: sagamore_core::Timestamp,
    ) {
        let id = reply.key.saga.clone();
        self.add(
            id,
            Arrival::Reply(Box::new(Stray { reply, delivery, first_seen, is_dead: false })),
        );
    }
}

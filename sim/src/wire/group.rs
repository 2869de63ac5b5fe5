//! Groups whose members share the partitions, as on Kafka: each has some of them, until another one comes, or is silent
//! for too long. A member that was silent goes on with what it has in its hands; its marks then count for nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_transport::{Consumer, Delivered, Error, Mark, Subscription, Transport};

use super::Hub;

/// How long a member may be silent until the others take what it has.
const SESSION_MS: i64 = 6_000;
/// More partitions than any topic has.
const PARTITIONS_MAX: u32 = 8;

/// All groups whose members share.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<Arc<str>, Group>);

#[derive(Default)]
struct Group {
    /// Raised whenever a member comes or goes.
    generation: u64,
    /// When each was heard of last.
    members: BTreeMap<u64, i64>,
    joined: u64,
}

impl Group {
    /// This member lives. Those that were silent for too long are put out.
    fn heard_of(&mut self, member: u64, now: i64) {
        let before = self.members.len();
        self.members.retain(|other, seen_at| *other == member || *seen_at + SESSION_MS >= now);
        let is_new = self.members.insert(member, now).is_none();
        if is_new || self.members.len() != before {
            self.generation += 1;
        }
    }

    /// The partitions of a member, in every topic.
    fn share(&self, member: u64) -> Vec<u32> {
        let count = u32::try_from(self.members.len()).unwrap_or(1).max(1);
        let place = self.members.keys().position(|other| *other == member).unwrap_or(0) as u32;
        (0..PARTITIONS_MAX).filter(|partition| partition % count == place).collect()
    }
}

/// A place in a group, with the log's consumer of what is read there.
pub(super) struct Seat {
    hub: Hub,
    /// None where each member takes all partitions from the one before.
    member: Option<Member>,
    pub(super) inner: Box<dyn Consumer>,
}

/// One of those that share.
struct Member {
    subscription: Subscription,
    number: u64,
    /// The generation of the group in which it got its share.
    generation: u64,
}

impl Seat {
    /// Joins the group.
    pub(super) async fn take(hub: &Hub, subscription: Subscription) -> Result<Seat, Error> {
        if !hub.shares || subscription.partitions.is_some() {
            let inner = hub.log().subscribe(subscription).await?;
            return Ok(Seat { hub: hub.clone(), member: None, inner });
        }
        let number = {
            let mut inner = hub.inner();
            let group = inner.groups.0.entry(subscription.group.clone()).or_default();
            group.joined += 1;
            group.joined
        };
        let (generation, inner) = share(hub, &subscription, number).await?;
        Ok(Seat {
            hub: hub.clone(),
            member: Some(Member { subscription, number, generation }),
            inner,
        })
    }

    /// Takes a share again when members have come or gone. Returns whether that was so.
    async fn follow(&mut self) -> Result<bool, Error> {
        let Some(member) = &mut self.member else { return Ok(false) };
        let generation = heard_of(&self.hub, &member.subscription, member.number).0;
        if generation == member.generation {
            return Ok(false);
        }
        (member.generation, self.inner) =
            share(&self.hub, &member.subscription, member.number).await?;
        self.hub.world.count("partitions moved");
        Ok(true)
    }

    /// What another member has taken is not to be had any more: the next poll takes a share again.
    fn unless_fenced<T: Default>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match (outcome, &mut self.member) {
            (Err(Error::Fenced(_)), Some(member)) => {
                self.hub.world.count("zombie of a group");
                member.generation = 0;
                Ok(T::default())
            }
            (other, _) => other,
        }
    }

    pub(super) async fn poll(&mut self, max: usize) -> Result<Vec<Delivered>, Error> {
        self.follow().await?;
        let taken = self.inner.poll(max).await;
        self.unless_fenced(taken)
    }

    pub(super) async fn commit(&mut self, marks: Vec<Mark>) -> Result<(), Error> {
        let committed = self.inner.commit(marks).await;
        self.unless_fenced(committed)
    }

    pub(super) async fn rewind(&mut self) -> Result<(), Error> {
        if self.follow().await? {
            return Ok(());
        }
        let rewound = self.inner.rewind().await;
        self.unless_fenced(rewound)
    }
}

fn heard_of(hub: &Hub, subscription: &Subscription, number: u64) -> (u64, Vec<u32>) {
    let now = hub.world.now();
    let mut inner = hub.inner();
    let group = inner.groups.0.entry(subscription.group.clone()).or_default();
    group.heard_of(number, now);
    (group.generation, group.share(number))
}

async fn share(
    hub: &Hub,
    subscription: &Subscription,
    number: u64,
) -> Result<(u64, Box<dyn Consumer>), Error> {
    let (generation, partitions) = heard_of(hub, subscription, number);
    hub.world.tell(|| {
        format!("member {number} of {} has partitions {partitions:?}", subscription.group)
    });
    let wanted = Subscription { partitions: Some(partitions), ..subscription.clone() };
    Ok((generation, hub.log().subscribe(wanted).await?))
}

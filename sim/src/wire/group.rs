//! Groups whose members share the partitions, as on Kafka. A member holds some partitions until
//! another member joins, or until it is silent for too long. A silent member continues with its
//! records, but its offsets no longer count.

use sagamore_transport::{Consumer, Delivery, Error, Mark, Subscription, Transport};

use super::hub::Hub;

/// A member's seat in a group, with the log's consumer.
pub(super) struct Seat {
    hub: Hub,
    /// `None` if each new member takes all partitions.
    member: Option<GroupMember>,
    pub(super) inner: Box<dyn Consumer>,
}

/// A member of a group with shared partitions.
struct GroupMember {
    subscription: Subscription,
    number: u64,
    /// The generation of the group in which the member got its partitions.
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
            member: Some(GroupMember { subscription, number, generation }),
            inner,
        })
    }

    /// Takes new partitions if members have joined or left. Returns whether they have.
    async fn follow(&mut self) -> Result<bool, Error> {
        let Some(member) = &mut self.member else { return Ok(false) };
        let generation = touch(&self.hub, &member.subscription, member.number).0;
        if generation == member.generation {
            return Ok(false);
        }
        (member.generation, self.inner) =
            share(&self.hub, &member.subscription, member.number).await?;
        self.hub.world.count("partitions moved");
        Ok(true)
    }

    /// Handles partitions that another member has taken: the next poll takes new ones.
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

    pub(super) async fn poll(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
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

fn touch(hub: &Hub, subscription: &Subscription, number: u64) -> (u64, Vec<u32>) {
    let now = hub.world.now();
    let mut inner = hub.inner();
    let group = inner.groups.0.entry(subscription.group.clone()).or_default();
    group.touch(number, now);
    (group.generation, group.share(number))
}

async fn share(
    hub: &Hub,
    subscription: &Subscription,
    number: u64,
) -> Result<(u64, Box<dyn Consumer>), Error> {
    let (generation, partitions) = touch(hub, subscription, number);
    hub.world
        .log(|| format!("member {number} of {} has partitions {partitions:?}", subscription.group));
    let wanted = Subscription { partitions: Some(partitions), ..subscription.clone() };
    Ok((generation, hub.log().subscribe(wanted).await?))
}

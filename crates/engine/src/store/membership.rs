//! The orchestrators that share the partitions: one row each, stamped by the server's clock.
//!
//! A member counts from its first acknowledged publish on, until its publishes fail while another
//! member's are acknowledged. If all members' publishes fail, every member stays.

use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::{Row, Statement, Tx, given_row};

use super::Store;
use super::ownership::{Seat, clock, is_possible, partition};
use crate::error::Error;

/// Retention of the row of an orchestrator that stopped renewing.
const RETENTION: Duration = Duration::from_secs(3600);
/// The time by which another member's success must follow a member's failures before that member is
/// evicted. Longer than a producer needs to notice that its brokers are available again.
const NEWER_BY: Duration = Duration::from_secs(3);

given_row! {
    /// A row of the table `orchestrator`.
    struct MemberRow<'a> {
        owner: &'a str,
        seen_until: i64,
        able_since: Option<i64>,
        failing_since: i64,
        published_at: i64,
    }
}

given_row! {
    /// A row that is removed unless it was renewed.
    struct OldMember<'a> {
        owner: &'a str,
        seen_until: i64,
    }
}

static STORE: Statement<MemberRow<'_>> = Statement::insert(
    "orchestrator",
    "ON CONFLICT (owner) DO UPDATE
     SET seen_until = excluded.seen_until, able_since = excluded.able_since,
        failing_since = excluded.failing_since, published_at = excluded.published_at",
);

static REMOVE: Statement<OldMember<'_>> = Statement::new(
    "DELETE FROM orchestrator USING given
     WHERE orchestrator.owner = given.owner AND orchestrator.seen_until = given.seen_until",
);

/// The result of the publishes since the last renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishHealth {
    /// At least one publish was acknowledged, and none has failed since.
    Acknowledged,
    /// The last publish failed, or has been pending for too long.
    Failing,
    /// Nothing was published.
    Idle,
}

/// The report of an orchestrator with each renewal.
#[derive(Clone, Copy)]
pub(crate) struct RenewalRequest<'a> {
    pub owner: &'a str,
    pub lease: Duration,
    /// The results of its publishes since its last renewal.
    pub publishing: PublishHealth,
}

/// The distribution of the partitions at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Every partition.
    pub seats: Vec<Seat>,
    /// The number of orchestrators that share the partitions.
    pub members: usize,
    pub standing: Standing,
}

/// The state of an orchestrator as a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// No publish was acknowledged before the last renewal: the orchestrator claims nothing.
    #[default]
    Joining,
    /// The orchestrator holds its share.
    Member,
    /// Its publishes fail: the orchestrator claims nothing, and keeps its partitions.
    CannotPublish,
    /// Its publishes fail, and another member's are acknowledged: the others claim its partitions.
    Evicted,
}

/// One orchestrator's row. All times are milliseconds of the server's clock, 0 for never.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    owner: String,
    /// The end of its lease.
    seen_until: i64,
    /// The renewal at which its publishes began to be acknowledged. `None`: an older program, which
    /// does not record it.
    able_since: Option<i64>,
    /// The renewal at which its publishes were first seen to fail.
    failing_since: i64,
    /// The time of the renewal before its last acknowledged publish.
    published_at: i64,
}

impl Store {
    /// Renews this orchestrator's membership and the leases of its partitions, or releases its
    /// partitions when it is evicted. After the end of its own lease it joins again.
    pub async fn renew(&self, renewal: RenewalRequest<'_>, now: Timestamp) -> Result<(), Error> {
        let open = self.begin().await?;
        let tx = open.tx();
        let all = members(&tx).await?;
        // read the clock after the rows, so that a lease renewed since does not seem impossible
        let time = clock(&tx, now).await?;
        let (mut members, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|member| member.is_alive(time, renewal.lease));
        let before = members
            .iter()
            .position(|member| member.owner == renewal.owner)
            .map(|at| members.swap_remove(at));
        let us = renewed(before.as_ref(), renewal, time);
        let is_over =
            |member: &&Member| !(time.minus(RETENTION).0..time.0).contains(&member.seen_until);
        let over = others
            .iter()
            .filter(is_over)
            .map(|member| OldMember { owner: &member.owner, seen_until: member.seen_until });
        tx.execute_row_by_row(&REMOVE, over).await?;
        tx.execute_row_by_row(&STORE, [us.row()]).await?;
        if is_evicted(&us, &members) {
            tx.execute(&of_owner(&tx, "owner = '', lease_until = 0"), (renewal.owner,)).await?;
        } else {
            tx.execute(&of_owner(&tx, "lease_until = $2"), (renewal.owner, us.seen_until)).await?;
        }
        Ok(open.commit().await?)
    }

    /// Reads the distribution of the partitions from this orchestrator's point of view.
    pub async fn survey(
        &self,
        owner: &str,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Survey, Error> {
        let open = self.begin().await?;
        let tx = open.tx();
        let members = members(&tx).await?;
        let seats = tx
            .query(
                "SELECT reply_partition, epoch, owner, lease_until FROM ownership
                 ORDER BY reply_partition",
                (),
            )
            .await?;
        // read the clock after the rows, so that a lease renewed since does not seem impossible
        let time = clock(&tx, now).await?;
        open.rollback().await?;
        let members: Vec<Member> =
            members.into_iter().filter(|member| member.is_alive(time, lease)).collect();
        let seat = |row: &Row| {
            let (epoch, lease_until) = (row.get("epoch")?, row.get("lease_until")?);
            let ours = row.get::<String>("owner")? == owner;
            let free = !is_possible(lease_until, time, lease);
            let partition = partition(row.get("reply_partition")?);
            Ok(partition.map(|partition| Seat { partition, epoch, ours, free, lease_until }))
        };
        Ok(Survey {
            seats: seats
                .iter()
                .map(seat)
                .filter_map(Result::transpose)
                .collect::<Result<_, Error>>()?,
            members: members.iter().filter(|member| counts(member, &members)).count().max(1),
            standing: standing(owner, &members, lease),
        })
    }
}

/// Updates the rows of one owner's partitions, locked in the order in which writes of sagas lock
/// them.
fn of_owner(tx: &Tx, set: &str) -> String {
    tx.dialect().text(&format!(
        "{{WITH ours AS (SELECT reply_partition FROM ownership WHERE owner = $1
                         ORDER BY reply_partition FOR NO KEY UPDATE)}}
         UPDATE ownership SET {set}
         WHERE owner = $1 {{AND reply_partition IN (SELECT reply_partition FROM ours)}}"
    ))
}

impl Member {
    fn row(&self) -> MemberRow<'_> {
        let Member { owner, seen_until, able_since, failing_since, published_at } = self;
        MemberRow {
            owner,
            seen_until: *seen_until,
            able_since: *able_since,
            failing_since: *failing_since,
            published_at: *published_at,
        }
    }

    /// Returns whether the member's lease is still valid at `time`.
    fn is_alive(&self, time: Timestamp, lease: Duration) -> bool {
        is_possible(self.seen_until, time, lease)
    }
}

/// Reads the rows of all orchestrators, including those whose leases have ended.
async fn members(tx: &Tx) -> Result<Vec<Member>, Error> {
    let sql = "SELECT owner, seen_until, able_since, failing_since, published_at FROM orchestrator
        ORDER BY owner";
    let read = |row: &Row| {
        Ok(Member {
            owner: row.get("owner")?,
            seen_until: row.get("seen_until")?,
            able_since: row.get("able_since")?,
            failing_since: row.get::<Option<i64>>("failing_since")?.unwrap_or(0),
            published_at: row.get::<Option<i64>>("published_at")?.unwrap_or(0),
        })
    };
    tx.query(sql, ()).await?.iter().map(read).collect()
}

/// Returns the row after a renewal at `time`.
fn renewed(
    before: Option<&Member>,
    RenewalRequest { owner, lease, publishing }: RenewalRequest<'_>,
    time: Timestamp,
) -> Member {
    let begun = |before: Option<i64>| before.filter(|since| *since > 0).unwrap_or(time.0);
    let past = |moment: i64| moment.min(time.0); // another server's clock may have been ahead
    let able_since = before.and_then(|before| before.able_since).map_or(0, past);
    let failing_since = before.map_or(0, |before| past(before.failing_since));
    let published_at = before.map_or(0, |before| past(before.published_at));
    let (able_since, failing_since, published_at) = match publishing {
        PublishHealth::Acknowledged => {
            let able_since = begun(Some(able_since).filter(|_| failing_since == 0));
            (able_since, 0, before.map_or(0, |before| renewed_at(before, lease)))
        }
        PublishHealth::Failing => (able_since, begun(Some(failing_since)), published_at),
        PublishHealth::Idle => (able_since, failing_since, published_at),
    };
    let seen_until = time.plus(lease).0;
    Member {
        owner: owner.to_owned(),
        seen_until,
        able_since: Some(able_since),
        failing_since,
        published_at,
    }
}

/// Returns the time of the member's last renewal.
fn renewed_at(member: &Member, lease: Duration) -> i64 {
    Timestamp(member.seen_until).minus(lease).0
}

/// Returns whether the member is evicted: its publishes fail, and another member's succeeded for
/// [`NEWER_BY`] since. After an outage of the brokers, each member thus has that long to reconnect.
fn is_evicted(member: &Member, members: &[Member]) -> bool {
    let shows = |other: &Member| {
        let able_since = other.able_since.filter(|since| *since > 0 && other.failing_since == 0);
        able_since.is_some_and(|able_since| {
            other.published_at >= Timestamp(able_since.max(member.failing_since)).plus(NEWER_BY).0
        })
    };
    member.failing_since > 0
        && members.iter().filter(|other| other.owner != member.owner).any(shows)
}

/// Whether this member gets a share of the partitions.
fn counts(member: &Member, members: &[Member]) -> bool {
    member.able_since != Some(0) && !is_evicted(member, members)
}

fn standing(owner: &str, members: &[Member], lease: Duration) -> Standing {
    let Some(us) = members.iter().find(|member| member.owner == owner) else {
        return Standing::Joining;
    };
    if is_evicted(us, members) {
        Standing::Evicted
    } else if us.failing_since > 0 {
        Standing::CannotPublish
    } else if us.able_since.is_some_and(|since| since > 0 && since < renewed_at(us, lease)) {
        Standing::Member
    } else {
        Standing::Joining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(3_000);

    fn member(owner: &str, able_since: i64, failing_since: i64, published_at: i64) -> Member {
        let able_since = Some(able_since);
        Member { owner: owner.into(), seen_until: 20_000, able_since, failing_since, published_at }
    }

    #[test]
    fn a_member_is_able_from_its_first_acknowledged_publish_and_again_after_failures() {
        use PublishHealth::{Acknowledged, Failing, Idle};
        let mut row = None;
        let mut check = |time: i64, publishing, expected: (i64, i64, i64)| {
            let next = renewed(
                row.as_ref(),
                RenewalRequest { owner: "one", lease: LEASE, publishing },
                Timestamp(time),
            );
            assert_eq!(
                (next.able_since.unwrap_or(-1), next.failing_since, next.published_at),
                expected,
                "at {time}"
            );
            row = Some(next);
        };
        check(1_000, Idle, (0, 0, 0));
        check(1_500, Acknowledged, (1_500, 0, 1_000)); // the publish was after the previous renewal
        check(2_000, Acknowledged, (1_500, 0, 1_500));
        check(2_500, Failing, (1_500, 2_500, 1_500));
        check(3_000, Failing, (1_500, 2_500, 1_500));
        check(3_500, Idle, (1_500, 2_500, 1_500));
        check(4_000, Acknowledged, (4_000, 0, 3_500));
    }

    #[test]
    fn a_member_whose_publishes_fail_is_evicted_only_by_another_ones_newer_success() {
        let check = |us: &Member, other: Member, expected: Standing| {
            let members = [us.clone(), other];
            assert_eq!(standing("us", &members, LEASE), expected, "{members:?}");
        };
        let failing = member("us", 1_000, 10_000, 9_000);
        check(&failing, member("other", 1_000, 0, 12_999), Standing::CannotPublish);
        check(&failing, member("other", 1_000, 0, 13_000), Standing::Evicted);
        // neither can publish
        check(&failing, member("other", 1_000, 10_500, 13_000), Standing::CannotPublish);
        // the brokers have just come back
        check(&failing, member("other", 14_000, 0, 16_999), Standing::CannotPublish);
        check(&failing, member("other", 14_000, 0, 17_000), Standing::Evicted);
        check(&member("us", 1_000, 0, 9_000), member("other", 1_000, 0, 19_000), Standing::Member);
        check(
            &member("us", 17_000, 0, 9_000),
            member("other", 1_000, 0, 19_000),
            Standing::Joining,
        );
        check(&member("us", 0, 10_000, 0), member("other", 1_000, 0, 13_000), Standing::Evicted);
        let older_program = Member { able_since: None, ..member("other", 0, 0, 0) };
        assert!(counts(&older_program, std::slice::from_ref(&older_program)));
    }
}

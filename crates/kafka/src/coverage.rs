//! Partitions of existing topics that are assigned to no member of the group. The client library
//! misses a topic that is created while the group's leader assigns partitions. The group is then
//! stable, and its members wait indefinitely.

use std::time::{Duration, Instant};

use bytes::Buf;

/// The interval at which a member compares the group's assignments with the topics.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// Consecutive comparisons that each find a gap, after which the group must rebalance. Between the
/// two rounds of a cooperative rebalance a partition has no member either, for a shorter time.
const COMPARISONS: u32 = 3;

/// The comparisons in which a partition had no member.
pub(crate) struct Coverage {
    compared: Instant,
    gaps: u32,
}

/// The partitions assigned to one member: topics with their partitions.
pub(crate) type Assignment = Vec<(String, Vec<u32>)>;

impl Coverage {
    pub fn new(now: Instant) -> Coverage {
        Coverage { compared: now, gaps: 0 }
    }

    /// Returns whether a comparison is due.
    pub fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.compared) >= COMPARE_EVERY
    }

    /// Records a comparison. Returns whether the group must rebalance: the last `COMPARISONS`
    /// comparisons all found a gap.
    pub fn compare(&mut self, has_gap: bool, now: Instant) -> bool {
        self.compared = now;
        self.gaps = if has_gap { self.gaps + 1 } else { 0 };
        let is_uncovered = self.gaps >= COMPARISONS;
        if is_uncovered {
            self.gaps = 0; // the rebalance takes a while
        }
        is_uncovered
    }
}

/// Returns the first partition of these topics, each with its number of partitions, that no member
/// is assigned.
pub(crate) fn gap(topics: &[(String, u32)], members: &[Assignment]) -> Option<(String, u32)> {
    let is_assigned = |topic: &str, partition: u32| {
        members
            .iter()
            .flatten()
            .any(|(name, partitions)| name == topic && partitions.contains(&partition))
    };
    let all = topics
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |partition| (topic, partition)));
    all.into_iter()
        .find(|(topic, partition)| !is_assigned(topic, *partition))
        .map(|(topic, at)| (topic.clone(), at))
}

/// Decodes a member's assignment in the format of Kafka's consumer protocol: a version, then topics
/// with their partitions.
///
/// Returns `None` for malformed bytes. A member without bytes has no partitions.
pub(crate) fn assignment(mut bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    bytes.try_get_i16().ok()?;
    let topics = bytes.try_get_i32().ok()?;
    let mut assignment = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let name = std::str::from_utf8(bytes.get(..length)?).ok()?.to_owned();
        bytes.advance(length);
        let count = bytes.try_get_i32().ok()?;
        let partitions = (0..count)
            .map(|_| u32::try_from(bytes.try_get_i32().ok()?).ok())
            .collect::<Option<_>>()?;
        assignment.push((name, partitions));
    }
    Some(assignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_OF_ORDERS: &[u8] =
        b"\0\x01\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\0\0\0\0\x02\xff\xff\xff\xff";

    #[test]
    fn a_partition_that_no_member_has_is_a_gap() {
        let check = |count: u32, members: &[Assignment], expected: Option<u32>| {
            let found = gap(&[("orders".to_owned(), count)], members);
            assert_eq!(found.map(|(_, partition)| partition), expected, "{count} of {members:?}");
        };
        let orders = |partitions: &[u32]| vec![("orders".to_owned(), partitions.to_vec())];
        check(3, &[orders(&[0, 2]), orders(&[1])], None);
        check(3, &[orders(&[0, 2]), Vec::new()], Some(1));
        check(2, &[Vec::new()], Some(0));
        check(1, &[vec![("payments".to_owned(), vec![0])]], Some(0));
        check(0, &[Vec::new()], None);
    }

    #[test]
    fn an_assignment_is_decoded_and_a_damaged_one_is_none() {
        assert_eq!(assignment(TWO_OF_ORDERS), Some(vec![("orders".to_owned(), vec![0, 2])]));
        assert_eq!(assignment(b""), Some(Vec::new()));
        for length in 1..TWO_OF_ORDERS.len() - 4 {
            assert_eq!(assignment(&TWO_OF_ORDERS[..length]), None, "cut after {length} bytes");
        }
        assert_eq!(assignment(b"\0\x01\x7f\xff\xff\xff"), None);
    }

    #[test]
    fn only_a_lasting_gap_makes_the_group_rebalance() {
        let now = Instant::now();
        let mut coverage = Coverage::new(now);
        let gaps = [true, true, false, true, true, true, true, true, true];
        let wanted = [false, false, false, false, false, true, false, false, true];
        assert_eq!(gaps.map(|has_gap| coverage.compare(has_gap, now)), wanted);
        assert!(!coverage.is_due(now) && coverage.is_due(now + COMPARE_EVERY));
    }
}

//! A member of a consumer group with hand-written requests. As the group's leader it assigns no
//! partitions.

use std::time::{Duration, Instant};

use bytes::Buf;

use super::raw::{call, text};

const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const LEAVE_GROUP: i16 = 13;
const SYNC_GROUP: i16 = 14;
/// The error of a heartbeat when another member joins or leaves.
pub const REBALANCE_IN_PROGRESS: i16 = 27;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const PROTOCOL: &str = "cooperative-sticky";

/// The group's leader, while it sends heartbeats.
pub struct IdleLeader {
    brokers: String,
    group: String,
    topic: String,
    id: String,
    generation: i32,
}

impl IdleLeader {
    /// Joins a group without members, and assigns nothing.
    pub fn join(brokers: &str, group: &str, topic: &str) -> IdleLeader {
        let (brokers, group, topic) = (brokers.to_owned(), group.to_owned(), topic.to_owned());
        let group_key = [text(&group), vec![0]].concat();
        let until = Instant::now() + PATIENCE;
        while (&call(&brokers, FIND_COORDINATOR, 1, &group_key)[4..]).get_i16() != 0 {
            // new brokers create one on the first request
            assert!(Instant::now() < until, "the group has no coordinator");
            std::thread::sleep(POLL);
        }
        let mut leader = IdleLeader { brokers, group, topic, id: String::new(), generation: 0 };
        leader.rejoin();
        leader
    }

    /// Joins again with its id, and assigns nothing. Returns the number of members.
    pub fn rejoin(&mut self) -> usize {
        let mut subscription = 0_i16.to_be_bytes().to_vec();
        subscription.extend(1_i32.to_be_bytes());
        subscription.extend(text(&self.topic));
        subscription.extend((-1_i32).to_be_bytes());
        let mut body = text(&self.group);
        body.extend([30_000_i32, 30_000].map(i32::to_be_bytes).concat()); // session and rebalance
        body.extend(text(&self.id));
        body.extend(text("consumer"));
        body.extend(1_i32.to_be_bytes());
        body.extend(text(PROTOCOL));
        body.extend(sized(&subscription));
        let answer = call(&self.brokers, JOIN_GROUP, 2, &body);
        let mut answer = &answer[4..]; // after the throttle time
        assert_eq!(answer.get_i16(), 0, "the group accepts the member");
        self.generation = answer.get_i32();
        let (_, leader, id) = (read(&mut answer), read(&mut answer), read(&mut answer));
        assert_eq!(leader, id, "the first member leads");
        self.id = id;
        let members = answer.get_i32();
        let mut assignments = text(&self.group);
        assignments.extend(self.generation.to_be_bytes());
        assignments.extend(text(&self.id));
        assignments.extend(members.to_be_bytes());
        for _ in 0..members {
            assignments.extend(text(&read(&mut answer)));
            let length = answer.get_i32();
            answer.advance(usize::try_from(length).expect("a length"));
            assignments.extend(sized(b"\0\0\0\0\0\0\xff\xff\xff\xff"));
        }
        let answer = call(&self.brokers, SYNC_GROUP, 1, &assignments);
        assert_eq!((&answer[4..]).get_i16(), 0, "the group accepts the assignments");
        usize::try_from(members).expect("a count")
    }

    /// Returns the broker's error, 0 for none.
    pub fn heartbeat(&self) -> i16 {
        let mut body = text(&self.group);
        body.extend(self.generation.to_be_bytes());
        body.extend(text(&self.id));
        let answer = call(&self.brokers, HEARTBEAT, 1, &body);
        (&answer[4..]).get_i16()
    }

    pub fn leave(self) {
        let body = [text(&self.group), text(&self.id)].concat();
        let answer = call(&self.brokers, LEAVE_GROUP, 1, &body);
        assert_eq!((&answer[4..]).get_i16(), 0, "the group releases the member");
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&i32::try_from(bytes.len()).expect("few bytes").to_be_bytes(), bytes].concat()
}

fn read(answer: &mut &[u8]) -> String {
    let length = usize::try_from(answer.get_i16()).expect("a length");
    let text = String::from_utf8(answer[..length].to_vec()).expect("a text");
    answer.advance(length);
    text
}

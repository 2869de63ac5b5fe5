//! Hand-written requests that no client library sends: unreadable batches, and ACLs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PRODUCE: i16 = 0;
const DESCRIBE_ACLS: i16 = 29;
const CREATE_ACLS: i16 = 30;
/// The brokers have no authorizer.
pub const SECURITY_DISABLED: i16 = 54;

/// The resource of an ACL.
#[derive(Clone, Copy)]
pub enum On<'a> {
    Topic(&'a str),
    Group(&'a str),
}

/// The operation of an ACL.
#[derive(Clone, Copy)]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
}

/// Returns a record batch of version 2 with these attributes, whose lowest three bits are the
/// codec.
pub fn batch(payload: &[u8], attributes: i16, records: i32) -> Vec<u8> {
    let mut rest = Vec::new();
    rest.extend(attributes.to_be_bytes());
    rest.extend((records - 1).to_be_bytes()); // the last offset, relative to the first
    rest.extend([1_700_000_000_000_i64; 2].map(i64::to_be_bytes).concat());
    rest.extend((-1_i64).to_be_bytes()); // no producer
    rest.extend((-1_i16).to_be_bytes());
    rest.extend((-1_i32).to_be_bytes());
    rest.extend(records.to_be_bytes());
    rest.extend(payload);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend(i32::try_from(rest.len() + 9).expect("a small batch").to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&rest).to_be_bytes());
    batch.extend(rest);
    batch
}

/// Returns a batch with a wrong checksum.
pub fn torn(mut batch: Vec<u8>) -> Vec<u8> {
    let last = batch.last_mut().expect("it has bytes");
    *last ^= 0x55;
    batch
}

/// Sends a batch to a partition unchanged. Returns the broker's error, 0 for none.
pub fn produce(brokers: &str, topic: &str, partition: i32, batch: &[u8]) -> i16 {
    let mut body = (-1_i16).to_be_bytes().to_vec(); // no transaction
    body.extend((-1_i16).to_be_bytes());
    body.extend(5_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(text(topic));
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(i32::try_from(batch.len()).expect("a small batch").to_be_bytes());
    body.extend(batch);
    let answer = call(brokers, PRODUCE, 7, &body);
    let error = 4 + 2 + topic.len() + 4 + 4; // topics, name, partitions, number
    i16::from_be_bytes([answer[error], answer[error + 1]])
}

/// Denies one operation to all users and allows the others. Returns the broker's error, 0 for none.
pub fn deny(brokers: &str, on: On<'_>, operation: Operation) -> i16 {
    let (allow, deny) = (3, 2);
    let acl = |operation: Operation, permission: i8| {
        let mut acl = on.resource();
        acl.extend(3_i8.to_be_bytes()); // a literal name
        acl.extend(text("User:*"));
        acl.extend(text("*"));
        acl.extend([(operation as i8).to_be_bytes(), permission.to_be_bytes()].concat());
        acl
    };
    let mut body = 2_i32.to_be_bytes().to_vec();
    body.extend(acl(Operation::All, allow));
    body.extend(acl(operation, deny));
    let answer = call(brokers, CREATE_ACLS, 1, &body);
    i16::from_be_bytes([answer[8], answer[9]]) // after the throttle time and the count
}

/// Returns whether the broker's authorizer has read a denial of this operation from its controller.
pub fn is_denied(brokers: &str, on: On<'_>, operation: Operation) -> bool {
    let (exactly, deny) = (3_i8, 2_i8);
    let mut filter = on.resource();
    filter.extend(exactly.to_be_bytes());
    // of any principal, from any host
    filter.extend([(-1_i16).to_be_bytes(), (-1_i16).to_be_bytes()].concat());
    filter.extend([(operation as i8).to_be_bytes(), deny.to_be_bytes()].concat());
    let answer = call(brokers, DESCRIBE_ACLS, 1, &filter);
    let error = i16::from_be_bytes([answer[4], answer[5]]); // after the throttle time
    assert_eq!(error, 0, "the ACLs can be read");
    let message = i16::from_be_bytes([answer[6], answer[7]]).max(0);
    let count = 8 + usize::try_from(message).expect("a length");
    answer[count..count + 4] != [0; 4]
}

impl On<'_> {
    /// Returns the resource's type and name.
    fn resource(self) -> Vec<u8> {
        let (kind, name): (i8, &str) = match self {
            On::Topic(name) => (2, name),
            On::Group(name) => (3, name),
        };
        let mut resource = kind.to_be_bytes().to_vec();
        resource.extend(text(name));
        resource
    }
}

pub(super) fn call(brokers: &str, kind: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = kind.to_be_bytes().to_vec();
    request.extend(version.to_be_bytes());
    request.extend(7_i32.to_be_bytes());
    request.extend(text("raw"));
    request.extend(body);
    let mut stream = TcpStream::connect(brokers).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
        .write_all(&i32::try_from(request.len()).expect("a small request").to_be_bytes())
        .expect("write");
    stream.write_all(&request).expect("write");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; i32::from_be_bytes(length).try_into().expect("a length")];
    stream.read_exact(&mut answer).expect("an answer");
    answer.split_off(4) // the request's number
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&i16::try_from(text.len()).expect("a short text").to_be_bytes(), text.as_bytes()].concat()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}

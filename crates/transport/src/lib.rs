//! The transport port, the embedded durable log behind it, and the wire format of messages.
//!
//! A transport delivers every record at least once, and each partition in order. It knows nothing
//! about sagas except the headers of their messages.

pub mod error;
pub mod record;

pub mod port;

pub mod wire;

pub mod log;

pub mod contract;
pub mod torn;

pub use error::{Error, Resource, Scope, Unknown};
pub use log::{Log, MemoryDisk};
pub use port::{Consumer, Reach, Subscription, Transport};
pub use record::{Delivery, Mark, Record};
pub use sagamore_core::limits;

//! The contracts of routes that several listeners serve.

use sagamore::server::http::routes::{Contract, READS, WAIT};

use super::shapes;

/// The route `/saga/start`.
pub const STARTS: Contract = READS.query(&[WAIT]).acts();
/// The route that places an order.
pub const PLACES: Contract = READS.body(&shapes::ORDER).waits().keyed();

//! The context that the chunks of a turn share.

use sagamore_core::Timestamp;
use sagamore_database::{Database, Error as DatabaseError};

use crate::options::Options;
use crate::service::Service;

/// Shared context for executing the chunks of a turn.
#[derive(Clone, Copy)]
pub(crate) struct ChunkContext<'a> {
    pub service: &'a Service,
    pub database: &'a Database,
    pub options: &'a Options,
    /// Bytes of answers after which a chunk ends.
    pub bytes_max: usize,
    pub now: Timestamp,
    /// The database error that the chunk's single command caused.
    pub blamed: Option<&'a DatabaseError>,
}

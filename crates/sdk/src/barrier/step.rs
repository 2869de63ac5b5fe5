//! A step whose rows are removed, and the tables that may contain them.

/// A step, as saga id and step name.
pub(crate) type Step = (String, String);

/// Whether the service also emits events, and so has their tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    None,
    Emitted,
}

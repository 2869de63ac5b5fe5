//! Anomalies: contradictions between a chain's observed events and every possible run of its plan.

use crate::id::Name;

/// A contradiction between the observed events and the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Anomaly {
    /// The plan has no such event.
    #[error(
        "'{event}' was emitted, but is not an event of the plan: does a service run another \
         version of it?"
    )]
    Unexpected { event: Name },
    /// Two ids of one event were observed.
    #[error(
        "'{event}' was emitted with two ids, so its service acted twice: check that service's \
         barrier"
    )]
    Double { event: Name },
    /// A reaction emitted two outcomes.
    #[error("'{reaction}' emitted both '{first}' and '{second}', but may emit only one of them")]
    BothOutcomes { reaction: Name, first: Name, second: Name },
    /// The pivot acted, and the chain compensates nevertheless.
    #[error("'{back}' was emitted, although '{pivot}' is past the point of no return")]
    BackAfterPivot { pivot: Name, back: Name },
    /// The cause of an event is missing. Reported only once the chain is late, because the cause
    /// may still arrive.
    #[error(
        "'{event}' was caused by '{causation}', which was never observed: emit the lost event again"
    )]
    Orphan { event: Name, causation: String },
    /// An event is missing. Reported only once the chain is late, because the event may still
    /// arrive.
    #[error("'{event}' was never observed, but its consequences were: emit the lost event again")]
    Gap { event: Name },
}

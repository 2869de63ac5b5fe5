//! The keys of a plan.

use super::key::{NAME, NAMES, Shape, Text, U64, VERSION, defaulted, optional, required};

/// A plan.
pub(crate) static PLAN: Shape = Shape::Object(&[
    required("name", NAME, "The name of the plan, such as fulfilment."),
    VERSION,
    optional(
        "deadlineMs",
        U64,
        "Milliseconds from a chain's start until it is overdue, and from a failure until its undos \
         are.",
    ),
    optional(
        "overdue",
        NAME,
        "The event that is emitted when a chain is overdue. Only the pivot's service reacts to it.",
    ),
    required("begins", BEGINS, "The start of each chain."),
    required("reactions", Shape::List(&REACTION), "The reactions of the services."),
    optional("schemas", SCHEMAS, "JSON Schemas (2020-12) of the events, each an object."),
]);

const SCHEMAS: Shape = Shape::Object(&[optional(
    "events",
    Shape::Map(Text::Name, &Shape::Schema),
    "The schema of each event, by the event's name.",
)]);

const BEGINS: Shape = Shape::Object(&[
    required("name", NAME, "A name that is unique among the reactions, such as create."),
    required("service", NAME, "The service that executes the start."),
    required("event", NAME, "The event that the start emits, such as order.created."),
    optional("undo", UNDO, "The undo of the start."),
]);

static REACTION: Shape = Shape::Object(&[
    required("name", NAME, "A name that is unique in the plan, such as charge."),
    required("service", NAME, "The service that executes the reaction."),
    required("on", NAMES, "The events that must all have arrived, in any order."),
    optional("emits", NAMES, "The success events, of which the reaction emits one."),
    optional(
        "fails",
        NAMES,
        "The failure events. A refused reaction does nothing and emits one of them.",
    ),
    optional("undo", UNDO, "The undo of the reaction."),
    optional(
        "neverAfter",
        NAMES,
        "After one of these events, the reaction never runs and emits nothing.",
    ),
    defaulted(
        "pivot",
        Shape::Flag,
        "false",
        "Marks the point of no return, at most one. Later reactions neither fail nor are undone.",
    ),
]);

const UNDO: Shape = Shape::Object(&[
    required("on", NAMES, "The events of which any one triggers the undo."),
    required("emits", NAME, "The event that the undo emits, such as payment.refunded."),
]);

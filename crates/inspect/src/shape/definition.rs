//! The keys of a definition.

use super::key::{
    FIELDS, NAME, NAMES, Shape, Text, U32, U64, VERSION, defaulted, optional, required,
};

/// A definition.
pub(crate) static DEFINITION: Shape = Shape::Object(&[
    required("name", NAME, "The name of the definition, such as checkout."),
    VERSION,
    optional(
        "deadlineMs",
        U64,
        "Milliseconds from the start. A saga whose pivot is not sent by then compensates.",
    ),
    optional(
        "key",
        Shape::Text(Text::Field),
        "The field of the input that must equal the business key.",
    ),
    required("input", FIELDS, "The fields of the input that steps may refer to."),
    required("steps", Shape::List(&STEP), "1 to 64 steps, in the order in which they run."),
    optional(
        "participants",
        Shape::Map(Text::Name, &PARTICIPANT),
        "The contract of each participant without a barrier, or with refusals by HTTP status.",
    ),
    optional(
        "schemas",
        SCHEMAS,
        "JSON Schemas (2020-12) of the data, each an object. Data without a schema is not checked.",
    ),
]);

static STEP: Shape = Shape::Object(&[
    required("name", NAME, "A name that is unique in the definition, such as charge-payment."),
    required(
        "kind",
        Shape::OneOf(&["compensatable", "pivot", "retriable"]),
        "compensatable: has a compensation. pivot: the point of no return, at most one. retriable: \
         after the pivot, repeated until it is done.",
    ),
    optional("after", NAMES, "The steps that must be done first. Absent: the preceding step."),
    required("action", COMMAND, "The command that executes the step."),
    optional(
        "compensation",
        COMMAND,
        "The command that undoes the step. Exactly the compensatable steps have one.",
    ),
    optional("yields", FIELDS, "The fields of the action's output that later steps may refer to."),
    optional("patience", PATIENCE, "Timeout, attempts and pauses of the step's commands."),
]);

const COMMAND: Shape = Shape::Object(&[
    required("participant", NAME, "The participant that receives the command."),
    required("message", NAME, "The name of the message, such as payment.charge."),
    optional(
        "fields",
        Shape::Map(Text::Field, &Shape::Text(Text::Reference)),
        "Maps each field of the message to the reference that fills it: input.FIELD or STEP.FIELD.",
    ),
]);

const PATIENCE: Shape = Shape::Object(&[
    defaulted(
        "timeoutMs",
        U64,
        "30000",
        "Milliseconds without a reply after which the outcome is unknown.",
    ),
    optional(
        "attemptsMax",
        U32,
        "Attempts of a compensatable action before it is given up and compensated. Absent: \
         unlimited.",
    ),
    defaulted(
        "backoffMsMin",
        U64,
        "200",
        "Milliseconds before the second attempt. The pause doubles with each attempt.",
    ),
    defaulted("backoffMsMax", U64, "30000", "The longest pause in milliseconds."),
]);

static PARTICIPANT: Shape = Shape::Object(&[
    defaulted(
        "repeat",
        Shape::OneOf(&["barrier", "by-key", "never"]),
        "\"barrier\"",
        "The effect of a command that arrives twice. barrier: none, in whatever order commands \
         arrive. by-key: none, but an undo leaves no tombstone. never: it takes effect again, so \
         no command is resent.",
    ),
    optional(
        "query",
        NAME,
        "The message that queries the outcome of an unknown action. Only without a barrier.",
    ),
    optional(
        "refusals",
        Shape::Map(Text::Status, &NAME),
        "Maps HTTP statuses from 400 to 599 to codes of refusals. Any other status leaves the \
         outcome unknown, unless the answer states it.",
    ),
]);

const SCHEMAS: Shape = Shape::Object(&[
    optional("input", Shape::Schema, "The schema of the saga's input."),
    optional(
        "messages",
        Shape::Map(Text::Name, &Shape::Schema),
        "The schema of each message, by its name.",
    ),
    optional(
        "outputs",
        Shape::Map(Text::Name, &Shape::Schema),
        "The schema of each action's output, by the action's message.",
    ),
]);

//! A definition written in Rust. The compiler checks the references, and `build` returns a
//! validated [`Definition`].
//!
//! ```
//! # extern crate sagamore_core as sagamore;
//! use sagamore_core::{Definition, Message, definition};
//!
//! #[derive(Message)]
//! struct Trip { trip_id: String, city: String }
//!
//! #[derive(Message)]
//! #[message(to = "hotel", yields = Booked)]
//! struct Book { trip_id: String, city: String }
//!
//! #[derive(Message)]
//! struct Booked { room: u32 }
//!
//! #[derive(Message)]
//! #[message(to = "hotel", undoes = Book)]
//! struct Unbook;
//!
//! #[derive(Message)]
//! #[message(to = "travel")]
//! struct Confirm { trip_id: String, room: u32 }
//!
//! fn trip() -> Result<Definition, definition::Error> {
//!     let mut saga = Definition::named("trip").version(1);
//!     let trip = saga.input::<Trip>();
//!
//!     let booked = saga
//!         .step("book-room")
//!         .sends(BookFrom { trip_id: trip.trip_id, city: trip.city })
//!         .undone_by::<Unbook>()
//!         .yields();
//!
//!     saga.pivot("confirm").sends(ConfirmFrom { trip_id: trip.trip_id, room: booked.room });
//!
//!     saga.build()
//! }
//!
//! let trip = trip().unwrap();
//! assert_eq!(trip.steps[1].action.fields["room"].to_string(), "book-room.room");
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::marker::PhantomData;
use std::time::Duration;

use serde_json::Value;

use crate::definition::{
    CommandTemplate, Definition, Draft, Error, InputCheck, InputError, Kind, ParticipantContract,
    Patience, Problem, Reference, Repeat, Schemas, Source, Step, misfit,
};
use crate::id::Name;
use crate::typed::{Action, Field, Message, Mirror, Origin, Ref, Undoes};

/// A definition under construction. Each step follows the previous one, unless `.after([..])` names
/// others.
#[derive(Debug)]
pub struct Builder {
    name: String,
    version: u32,
    deadline: Option<Duration>,
    input: &'static [&'static str],
    input_check: InputCheck,
    key: Option<Field>,
    steps: Vec<Written>,
    participants: Vec<(String, WrittenContract)>,
    schemas: Schemas,
    /// Whether the schemas of the messages' types are part of the definition.
    has_typed_schemas: bool,
    input_schema: Option<SchemaOf>,
}

/// Returns the JSON Schema of a message type, if it has one.
type SchemaOf = fn() -> Option<Value>;

/// The contract of a participant without a barrier, under construction.
pub struct Participant<'a> {
    contract: &'a mut WrittenContract,
}

/// A contract as written. `build` checks its names.
#[derive(Debug, Default)]
struct WrittenContract {
    repeat: Repeat,
    query: Option<String>,
    refusals: BTreeMap<u16, String>,
}

/// A step with a name and, so far, without an action.
#[must_use = "a step sends an action: .sends(..)"]
pub struct Named<'a> {
    steps: &'a mut Vec<Written>,
}

/// A step with the action `A`.
pub struct SentStep<'a, A> {
    steps: &'a mut Vec<Written>,
    action: PhantomData<A>,
}

/// A step as written. `build` checks its names.
#[derive(Debug)]
struct Written {
    name: String,
    kind: Kind,
    after: Option<Vec<String>>,
    action: Option<Request>,
    compensation: Option<Request>,
    yields: &'static [&'static str],
    output_schema: Option<SchemaOf>,
    patience: Patience,
}

#[derive(Debug)]
struct Request {
    participant: &'static str,
    message: &'static str,
    fields: BTreeMap<&'static str, Field>,
    schema: SchemaOf,
}

impl Definition {
    /// Starts a definition with this name, in version 1.
    pub fn named(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            version: 1,
            deadline: None,
            input: &[],
            input_check: InputCheck::default(),
            key: None,
            steps: Vec::new(),
            participants: Vec::new(),
            schemas: Schemas::default(),
            has_typed_schemas: false,
            input_schema: None,
        }
    }
}

impl Builder {
    /// Sets the version. Every change needs a higher one: the same version with other contents is
    /// rejected.
    pub fn version(self, version: u32) -> Builder {
        Builder { version, ..self }
    }

    /// Sets the saga's deadline, counted from its start. A saga that passes it before its pivot's
    /// command is sent compensates.
    pub fn deadline(self, deadline: Duration) -> Builder {
        Builder { deadline: Some(deadline), ..self }
    }

    /// Includes the schemas of all message types with `#[message(schema)]`. They become part of the
    /// definition's content, so its hash changes. [`Builder::schemas`] takes precedence.
    ///
    /// ```
    /// # extern crate sagamore_core as sagamore;
    /// # use sagamore_core::{Definition, Message};
    /// #[derive(Message)]
    /// #[message(schema)]
    /// struct Visit {
    ///     #[message(max_length = 40)]
    ///     guest: String,
    /// }
    /// # #[derive(Message)] #[message(to = "host")] struct Open { guest: String }
    /// let mut visit = Definition::named("visit").typed_schemas();
    /// let input = visit.input::<Visit>();
    /// visit.pivot("open").sends(OpenFrom { guest: input.guest });
    /// let schema = visit.build()?.schemas.input.clone().unwrap_or_default();
    /// assert_eq!(schema["properties"]["guest"]["maxLength"], 40);
    /// # Ok::<(), sagamore_core::definition::Error>(())
    /// ```
    pub fn typed_schemas(self) -> Builder {
        Builder { has_typed_schemas: true, ..self }
    }

    /// Sets the type of the saga's input and returns references to its fields. A start whose input
    /// is not an `M` is rejected.
    pub fn input<M: Message>(&mut self) -> M::From {
        self.checked_input::<M, Infallible>(|_, _| Ok(()))
    }

    /// Does the same as [`Builder::input`], with an additional check of business key and input at
    /// each start. Use it for rules that types cannot express. The error text names the problem.
    pub fn checked_input<M: Message, E: Display>(
        &mut self,
        check: impl Fn(&str, &M) -> Result<(), E> + Send + Sync + 'static,
    ) -> M::From {
        self.input = M::From::FIELDS;
        self.input_schema = Some(M::schema);
        // serde reads a message without fields from `null` only, but such a saga accepts any input
        self.input_check = match M::From::FIELDS {
            [] => InputCheck::default(),
            _ => InputCheck::new(move |key, input| {
                let message = serde_json::from_str::<M>(input.as_str());
                let message = message.map_err(|error| misfit(input, M::NAME, &error))?;
                check(key, &message).map_err(|error| InputError::Check(error.to_string()))
            }),
        };
        M::From::of(Origin::Input)
    }

    /// Names the input field that holds the business key. A start whose key differs from it is
    /// rejected.
    pub fn keyed_by<T>(&mut self, field: Ref<T>) {
        self.key = Some(field.field());
    }

    /// Adds a compensatable step.
    pub fn step(&mut self, name: &str) -> Named<'_> {
        self.write(name, Kind::Compensatable)
    }

    /// Adds the pivot. After its command is sent, the saga compensates only if the pivot is
    /// refused.
    pub fn pivot(&mut self, name: &str) -> Named<'_> {
        self.write(name, Kind::Pivot)
    }

    /// Adds a retriable step, repeated until it is done. It follows the pivot.
    pub fn retriable(&mut self, name: &str) -> Named<'_> {
        self.write(name, Kind::Retriable)
    }

    /// Describes a participant that has no barrier, or whose HTTP statuses mean refusals. Other
    /// participants need no description.
    ///
    /// ```
    /// # let mut saga = sagamore_core::Definition::named("checkout");
    /// saga.participant("cards").by_key().refusal(402, "not-enough-money");
    /// saga.participant("mail").never().query("mail.status");
    /// ```
    pub fn participant(&mut self, name: &str) -> Participant<'_> {
        let known = self.participants.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            self.participants.push((name.to_owned(), WrittenContract::default()));
            self.participants.len() - 1
        });
        Participant { contract: &mut self.participants[index].1 }
    }

    /// Sets the JSON Schemas of input, messages and outputs.
    pub fn schemas(&mut self, schemas: Schemas) {
        self.schemas = schemas;
    }

    /// Validates the definition.
    ///
    /// # Errors
    /// Returns every problem of the definition.
    pub fn build(mut self) -> Result<Definition, Error> {
        let mut problems = Vec::new();
        if self.has_typed_schemas {
            self.add_typed_schemas();
        }
        let name = named(&self.name, &mut problems);
        let names: Vec<_> =
            self.steps.iter().map(|step| named(&step.name, &mut problems)).collect();
        let mut steps = Vec::with_capacity(self.steps.len());
        for (written, name) in self.steps.into_iter().zip(&names) {
            steps.extend(written.lower(name.clone(), &names, &mut problems));
        }
        if let Some(Field { origin: Origin::Step(step), .. }) = self.key {
            let step = names
                .get(step)
                .and_then(Option::as_ref)
                .map_or_else(String::new, ToString::to_string);
            problems.push(Problem::KeyOfStep { step });
        }
        let mut participants = BTreeMap::new();
        for (name, contract) in self.participants {
            let contract = contract.lower(&mut problems);
            participants.extend(named(&name, &mut problems).map(|name| (name, contract)));
        }
        match name {
            Some(name) if problems.is_empty() => Definition::check(Draft {
                name,
                version: self.version,
                deadline_ms: self.deadline.map(millis),
                key: self.key.map(|field| field.name.to_owned()),
                input: self.input.iter().map(ToString::to_string).collect(),
                steps,
                participants,
                schemas: self.schemas,
            })
            .map(|definition| definition.checking(self.input_check)),
            _ => Err(Error { definition: self.name, problems }),
        }
    }

    /// Adds the schemas of message types where none is set. Names are checked with the steps.
    fn add_typed_schemas(&mut self) {
        let Schemas { input, messages, outputs } = &mut self.schemas;
        if input.is_none() {
            *input = self.input_schema.and_then(|schema| schema());
        }
        let add = |to: &mut BTreeMap<Name, Value>, message: &str, schema: SchemaOf| {
            if let (Ok(name), Some(schema)) = (Name::new(message), schema()) {
                to.entry(name).or_insert(schema);
            }
        };
        for step in &self.steps {
            for request in step.action.iter().chain(&step.compensation) {
                add(messages, request.message, request.schema);
            }
            if let (Some(action), Some(schema)) = (&step.action, step.output_schema) {
                add(outputs, action.message, schema);
            }
        }
    }

    fn write(&mut self, name: &str, kind: Kind) -> Named<'_> {
        self.steps.push(Written {
            name: name.to_owned(),
            kind,
            after: None,
            action: None,
            compensation: None,
            yields: &[],
            output_schema: None,
            patience: Patience::default(),
        });
        Named { steps: &mut self.steps }
    }
}

impl Participant<'_> {
    /// Declares that the participant deduplicates commands by their id, without a barrier. An
    /// unknown action is resent.
    pub fn by_key(self) -> Self {
        self.contract.repeat = Repeat::ByKey;
        self
    }

    /// Declares that each repetition of a command takes effect again. A command is never resent: an
    /// unknown action is queried, or else waits for an operator.
    pub fn never(self) -> Self {
        self.contract.repeat = Repeat::Never;
        self
    }

    /// Names the message that queries the outcome of an unknown action. It has the action's fields.
    pub fn query(self, message: &str) -> Self {
        self.contract.query = Some(message.to_owned());
        self
    }

    /// Maps an HTTP status, from 400 to 599, to a refusal with this code.
    pub fn refusal(self, status: u16, code: &str) -> Self {
        self.contract.refusals.insert(status, code.to_owned());
        self
    }
}

impl WrittenContract {
    fn lower(self, problems: &mut Vec<Problem>) -> ParticipantContract {
        let query = self.query.and_then(|query| named(&query, problems));
        let refusals = self.refusals.into_iter();
        let refusals =
            refusals.filter_map(|(status, code)| Some((status, named(&code, problems)?))).collect();
        ParticipantContract { repeat: self.repeat, query, refusals }
    }
}

impl<'a> Named<'a> {
    /// Sets the action. Each field refers to the input or to an earlier step's output.
    pub fn sends<M: Mirror>(self, message: M) -> SentStep<'a, M::Of>
    where
        M::Of: Action,
    {
        let mut step = SentStep { steps: self.steps, action: PhantomData };
        let action = Request::of(message, <M::Of as Action>::PARTICIPANT);
        let written = step.written();
        written.action = Some(action);
        written.yields = <<M::Of as Action>::Output as Message>::From::FIELDS;
        written.output_schema = Some(<M::Of as Action>::Output::schema);
        step
    }
}

impl<A: Action> SentStep<'_, A> {
    /// Sets the compensation, a message without fields. The participant has stored the action's
    /// output.
    ///
    /// A compensation of another action does not compile:
    /// ```compile_fail,E0271
    /// # extern crate sagamore_core as sagamore;
    /// # use sagamore_core::{Definition, Message};
    /// #[derive(Message)]
    /// #[message(to = "payment")]
    /// struct Charge;
    ///
    /// #[derive(Message)]
    /// #[message(to = "stock")]
    /// struct Reserve;
    ///
    /// #[derive(Message)]
    /// #[message(to = "stock", undoes = Reserve)]
    /// struct Release;
    ///
    /// let mut saga = Definition::named("checkout");
    /// saga.step("charge").sends(Charge).undone_by::<Release>();
    /// ```
    pub fn undone_by<C: Undoes<Action = A> + Mirror<Of = C>>(self) -> Self {
        self.undone_by_with(C::of(Origin::Input))
    }

    /// Sets the compensation with fields, for participants that do not store the outputs of their
    /// actions. Fields refer to the input and to earlier steps, not to this step's output.
    pub fn undone_by_with<M: Mirror>(mut self, compensation: M) -> Self
    where
        M::Of: Undoes<Action = A>,
    {
        self.written().compensation = Some(Request::of(compensation, A::PARTICIPANT));
        self
    }

    /// Sets a compensation that is filled from the output of its own action, for participants
    /// without a barrier. They store no outputs: see [`Builder::participant`].
    pub fn undone_by_output<M: Mirror>(
        mut self,
        compensation: impl FnOnce(<A::Output as Message>::From) -> M,
    ) -> Self
    where
        M::Of: Undoes<Action = A>,
    {
        let own = Origin::Step(self.steps.len() - 1);
        let compensation = compensation(<A::Output as Message>::From::of(own));
        self.written().compensation = Some(Request::of(compensation, A::PARTICIPANT));
        self
    }

    /// Names the steps that must be done before this one; `[]` for a step that starts at once.
    pub fn after<const N: usize>(mut self, steps: [&str; N]) -> Self {
        self.written().after = Some(steps.map(str::to_owned).to_vec());
        self
    }

    /// Sets how long to wait for a reply. After that the outcome is unknown, and the command is
    /// resent.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.written().patience.timeout_ms = millis(timeout);
        self
    }

    /// Limits the attempts. After the last one the step is given up and compensated. Unlimited by
    /// default.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.written().patience.attempts_max = Some(attempts);
        self
    }

    /// Sets the pause before the second attempt and the longest pause. The pause doubles with each
    /// attempt.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        let patience = &mut self.written().patience;
        (patience.backoff_ms_min, patience.backoff_ms_max) = (millis(min), millis(max));
        self
    }

    /// Returns references to the fields of the action's output, for later steps.
    pub fn yields(self) -> <A::Output as Message>::From {
        <A::Output as Message>::From::of(Origin::Step(self.steps.len() - 1))
    }
}

impl<A> SentStep<'_, A> {
    fn written(&mut self) -> &mut Written {
        self.steps.last_mut().expect("`step` pushes before it returns")
    }
}

impl Written {
    fn lower(
        self,
        name: Option<Name>,
        names: &[Option<Name>],
        problems: &mut Vec<Problem>,
    ) -> Option<Step> {
        if self.action.is_none() {
            problems.push(Problem::SendsNothing { step: self.name.clone() });
        }
        let after =
            self.after.map(|after| after.iter().filter_map(|name| named(name, problems)).collect());
        let action = self.action.and_then(|action| action.lower(&self.name, names, problems));
        let compensation = self.compensation.map(|undo| undo.lower(&self.name, names, problems));
        Some(Step {
            name: name?,
            kind: self.kind,
            after,
            action: action?,
            compensation: compensation.flatten(),
            yields: self.yields.iter().map(ToString::to_string).collect(),
            patience: self.patience,
        })
    }
}

impl Request {
    fn of<M: Mirror>(message: M, participant: &'static str) -> Request {
        let (fields, schema) = (message.into_fields(), M::Of::schema);
        Request { participant, message: M::Of::NAME, fields, schema }
    }

    fn lower(
        self,
        step: &str,
        names: &[Option<Name>],
        problems: &mut Vec<Problem>,
    ) -> Option<CommandTemplate> {
        let (participant, message) =
            (named(self.participant, problems), named(self.message, problems));
        let mut fields = BTreeMap::new();
        for (name, field) in self.fields {
            let source = match field.origin {
                Origin::Input => Some(Source::Input),
                Origin::Step(index) => match names.get(index) {
                    Some(step) => step.clone().map(Source::Step),
                    None => {
                        problems.push(Problem::Foreign {
                            step: step.to_owned(),
                            field: name.to_owned(),
                        });
                        None
                    }
                },
            };
            fields.extend(source.map(|source| {
                (name.to_owned(), Reference { source, field: field.name.to_owned() })
            }));
        }
        Some(CommandTemplate { participant: participant?, message: message?, fields })
    }
}

/// Parses a name. An invalid one is recorded as a problem and reported by `build`.
fn named(text: &str, problems: &mut Vec<Problem>) -> Option<Name> {
    Name::new(text).map_err(|malformed| problems.push(Problem::Malformed(malformed))).ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

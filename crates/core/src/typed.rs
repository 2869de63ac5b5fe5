//! Typed messages: what `#[derive(Message)]` implements, so that the compiler checks a plan's wiring.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message with a name, readable from and writable to JSON (fields in camelCase).
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// `payment.charge` for what is asked of a participant, `charged` for what an action gives.
    const NAME: &'static str;
    /// The same fields as references: `ChargeFrom` for `Charge`.
    type From: Mirror;
}

/// A message's fields as references: what a plan fills a message with. A message without fields is its own mirror.
#[diagnostic::on_unimplemented(
    message = "a plan fills `{Self}` with references, not with values",
    note = "write `{Self}From {{ field: input.field, .. }}`"
)]
pub trait Mirror: Sized {
    /// The message whose fields these are.
    type Of: Message;
    /// The names of the fields, as on the wire.
    const FIELDS: &'static [&'static str];
    /// Every field, referring to the field of the same name of `source`.
    fn of(source: Origin) -> Self;
    /// Field name -> where its value comes from.
    fn into_fields(self) -> BTreeMap<&'static str, Field>;
}

/// A message that asks for an action.
pub trait Action: Message {
    /// Who carries it out: `payment`.
    const PARTICIPANT: &'static str;
    /// What it gives when it is done.
    type Output: Message;
}

/// A message that asks to undo an action.
pub trait Undoes: Message {
    /// The action that it undoes; its handler is given that action's stored output.
    type Action: Action;
}

/// Where a value comes from while a plan is being built: the input, or a step by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// What the saga is started with.
    Input,
    /// The output of the step with this number.
    Step(usize),
}

/// One field of an origin, untyped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it comes from.
    pub origin: Origin,
    /// Its name on the wire.
    pub name: &'static str,
}

/// One field of an origin that holds a `T`. `Copy`, and no path language.
pub struct Ref<T> {
    field: Field,
    holds: PhantomData<fn() -> T>,
}

impl<T> Ref<T> {
    /// The field `name` of `origin`.
    pub fn new(origin: Origin, name: &'static str) -> Ref<T> {
        Ref { field: Field { origin, name }, holds: PhantomData }
    }

    /// Without its type.
    pub fn field(self) -> Field {
        self.field
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Ref<T> {
        *self
    }
}

impl<T> Copy for Ref<T> {}

/// Nothing: what an action gives that has nothing to tell.
impl Message for () {
    const NAME: &'static str = "nothing";
    type From = ();
}

impl Mirror for () {
    type Of = ();
    const FIELDS: &'static [&'static str] = &[];

    fn of(_: Origin) {}

    fn into_fields(self) -> BTreeMap<&'static str, Field> {
        BTreeMap::new()
    }
}

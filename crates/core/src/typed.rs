//! Typed messages. `#[derive(Message)]` implements these traits, so that the compiler checks a
//! definition's references.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod json_schema;

pub use json_schema::{FieldSchema, JsonSchema, of_fields};

/// A named message that is serialized to JSON with fields in camelCase.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// The message's name, such as `payment.charge` for a command and `charged` for an output.
    const NAME: &'static str;
    /// The same fields as references, such as `ChargeFrom` for `Charge`.
    type From: Mirror;

    /// Returns the JSON Schema of the fields; `None` without `#[message(schema)]`.
    fn schema() -> Option<Value> {
        None
    }
}

/// A message's fields as references. A definition fills a message with them. A message without
/// fields is its own mirror.
#[diagnostic::on_unimplemented(
    message = "a definition fills `{Self}` with references, not with values",
    note = "write `{Self}From {{ field: input.field, .. }}`"
)]
pub trait Mirror: Sized {
    /// The message that has these fields.
    type Of: Message;
    /// The wire names of the fields.
    const FIELDS: &'static [&'static str];
    /// Builds references to the fields of the same names in `source`.
    fn of(source: Origin) -> Self;
    /// Returns the reference of each field by name.
    fn into_fields(self) -> BTreeMap<&'static str, Field>;
}

/// A message that requests an action.
pub trait Action: Message {
    /// The participant that executes the action, such as `payment`.
    const PARTICIPANT: &'static str;
    /// The output of the action.
    type Output: Message;
}

/// A message that requests the undo of an action.
pub trait Undoes: Message {
    /// The action that it undoes. Its handler receives that action's stored output.
    type Action: Action;
}

/// The source of a value in a definition under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The saga's input.
    Input,
    /// The output of the step with this number.
    Step(usize),
}

/// One field of an origin, untyped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the name says it")]
pub struct Field {
    pub origin: Origin,
    /// The field's wire name.
    pub name: &'static str,
}

/// A reference to one field that holds a `T`. It is `Copy` and has no path language.
pub struct Ref<T> {
    field: Field,
    holds: PhantomData<fn() -> T>,
}

impl<T> Ref<T> {
    /// Refers to the field `name` of `origin`.
    pub fn new(origin: Origin, name: &'static str) -> Ref<T> {
        Ref { field: Field { origin, name }, holds: PhantomData }
    }

    /// Returns the reference without its type.
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

/// The empty output of an action that returns nothing.
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

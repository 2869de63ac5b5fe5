//! Reactions: what a service does about events. A reaction runs when the events of a chain have
//! arrived, and emits its result as an event. Its undo runs on certain failures and emits an event
//! as well.
//!
//! A reaction is a step of its chain, with the barrier row, stored answer and undo of a command.
//! Only its trigger and the form of its answer differ.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use sagamore_core::message::{IntoRefusal, Never};
use sagamore_core::typed::{Message, Mirror};
use sagamore_core::{Body, Direction, Name, Outcome, Refusal, plan};
use sagamore_database::Tx;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::decided::Decided;
use crate::handler::{Running, Unreadable, erase, read_body, read_output, undone};
use crate::keys::CommandKeys;

type React = dyn Fn(Tx, &[Body], &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync;
type Undo = dyn Fn(Tx, &Body, &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync;

/// A reaction that emits an `E` when it is done.
///
/// ```
/// # extern crate sagamore_sdk as sagamore;
/// # use sagamore_sdk::{Decided, Message, Never, Reaction, Service, Tx, done, on};
/// # #[derive(Message)] #[message(name = "order.created")] struct OrderCreated { order_id: String, cents: i64 }
/// # #[derive(Message)] #[message(name = "payment.success")] struct PaymentSuccess { order_id: String, cents: i64 }
/// # #[derive(Message)] #[message(name = "payment.failed")] struct PaymentFailed { order_id: String, reason: String }
/// # #[derive(Message)] #[message(name = "payment.refunded")] struct PaymentRefunded { order_id: String }
/// # #[derive(Message)] #[message(name = "shipping.failed")] struct ShippingFailed { order_id: String, reason: String }
/// # async fn charge(_: Tx, order: OrderCreated) -> Decided<PaymentSuccess, Never> {
/// #     let OrderCreated { order_id, cents } = order; done(PaymentSuccess { order_id, cents })
/// # }
/// # async fn refund(_: Tx, _: PaymentSuccess) -> Decided<(), Never> { done(()) }
/// let payment = Service::named("payment").reaction(
///     Reaction::named("charge")
///         .to(charge)
///         .fails::<PaymentFailed>()
///         .undone_by(refund, on::<(ShippingFailed,)>().says::<PaymentRefunded>()),
/// );
/// assert_eq!(payment.reacts_to().collect::<Vec<_>>(), ["order.created", "shipping.failed"]);
/// ```
pub struct Reaction<E, R = Never> {
    declared: Declared,
    tells: PhantomData<fn() -> (E, R)>,
}

/// Marks a [`Reaction`] whose refusals an event reports: see [`Reaction::fails`].
#[derive(Clone, Copy, Debug)]
pub enum FailureEvent {}

/// The way in which a reaction reports refusals: not at all ([`Never`]), or by a [`FailureEvent`].
///
/// Reactions after the pivot cannot fail. There a rejection is a fault: `Err(rejected)?` in the
/// handler instead of `refused(rejected)`.
#[diagnostic::on_unimplemented(
    message = "this reaction may be refused with `{Self}`, and no event reports that",
    label = "the chain would be stuck after a refusal",
    note = "add `.fails::<Event>()`, or return `Decided<_, Never>` and turn each rejection into a \
            fault"
)]
pub trait RefusalReport: Sealed {}

impl RefusalReport for Never {}
impl RefusalReport for FailureEvent {}

/// Prevents other implementations of [`RefusalReport`].
#[doc(hidden)]
pub trait Sealed {}

impl Sealed for Never {}
impl Sealed for FailureEvent {}

/// A reaction without a handler yet.
pub struct Unbound(Name);

/// Failures, any of which triggers an undo.
pub struct On(Vec<EventType>);

/// Failures that trigger an undo, and the event that the undo emits.
pub struct Undoing {
    on: Vec<EventType>,
    says: EventType,
}

/// An event's name, the fields of its body, and its schema.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    pub(crate) name: &'static str,
    fields: &'static [&'static str],
    /// Returns the JSON Schema of the body, if it has one.
    pub(crate) schema: fn() -> Option<Value>,
}

/// A reaction as the participant stores it, without types.
#[derive(Clone)]
pub(crate) struct Declared {
    pub name: Name,
    /// The events that must all have arrived. Empty: the service itself starts the chain.
    pub inputs: Vec<EventType>,
    pub react: Option<Arc<React>>,
    /// The event that reports success.
    pub tells: EventType,
    /// The event that reports a refusal.
    pub fails: Option<EventType>,
    pub undo: Option<DeclaredUndo>,
    /// The events after any of which it never runs, unless it has.
    pub never_after: Vec<EventType>,
    /// The event on which it is given up, unless it has acted.
    pub overdue: Option<EventType>,
    /// Whether it is the plan's pivot.
    pub pivot: bool,
}

/// The undo of a reaction, as the participant stores it.
#[derive(Clone)]
pub(crate) struct DeclaredUndo {
    pub on: Vec<EventType>,
    pub says: EventType,
    pub run: Arc<Undo>,
}

/// A tuple of event types, of which any one triggers.
pub trait AnyOf {
    /// Returns the types, in their order.
    #[doc(hidden)]
    fn all() -> Vec<EventType>;
}

macro_rules! any_of {
    ($($event:ident),+) => {
        impl<$($event: Message),+> AnyOf for ($($event,)+) {
            fn all() -> Vec<EventType> {
                vec![$(EventType::of::<$event>()),+]
            }
        }
    };
}
any_of!(A);
any_of!(A, B);
any_of!(A, B, C);
any_of!(A, B, C, D);

/// Selects any of these events: `on::<(InventoryFailed, ShippingFailed)>()`.
pub fn on<T: AnyOf>() -> On {
    On(T::all())
}

impl On {
    /// Sets the event that each undo emits, even if there was nothing to undo. Its fields come from
    /// the failure.
    ///
    /// # Panics
    /// Panics if a failure lacks a field of `E`.
    pub fn says<E: Message>(self) -> Undoing {
        let says = EventType::of::<E>();
        for failure in &self.0 {
            let lacks = says.fields.iter().find(|field| !failure.fields.contains(field));
            assert!(
                lacks.is_none(),
                "'{}' has no field '{}' for '{}'",
                failure.name,
                lacks.unwrap_or(&""),
                says.name
            );
        }
        Undoing { on: self.0, says }
    }
}

impl Reaction<()> {
    /// A reaction with a name that is unique in its plan.
    ///
    /// # Panics
    /// Panics if `name` is not a [`Name`].
    pub fn named(name: &str) -> Unbound {
        Unbound(Name::new(name).unwrap_or_else(|malformed| panic!("declare reaction: {malformed}")))
    }
}

impl Unbound {
    /// Runs the handler for each `A`, in a local transaction, and emits its output `E`.
    ///
    /// A handler has no effect outside of its transaction, and may run more than once.
    pub fn to<A, E, R, F, Fut>(self, handler: F) -> Reaction<E, R>
    where
        A: Message,
        E: Message,
        R: IntoRefusal + Send + 'static,
        F: Fn(Tx, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<E, R>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.bound(vec![EventType::of::<A>()], move |tx, bodies, keys| {
            let (event, handler) = (body::<A>(bodies, 0)?, Arc::clone(&handler));
            keys.read(&event);
            Ok(Box::pin(async move { erase(handler(tx, event).await) }))
        })
    }

    /// Runs the handler once both events of a chain have arrived, in either order.
    pub fn to_both<A, B, E, R, F, Fut>(self, handler: F) -> Reaction<E, R>
    where
        A: Message,
        B: Message,
        E: Message,
        R: IntoRefusal + Send + 'static,
        F: Fn(Tx, A, B) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<E, R>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.bound(vec![EventType::of::<A>(), EventType::of::<B>()], move |tx, bodies, keys| {
            let (one, other, handler) =
                (body::<A>(bodies, 0)?, body::<B>(bodies, 1)?, Arc::clone(&handler));
            keys.read(&one);
            keys.read(&other);
            Ok(Box::pin(async move { erase(handler(tx, one, other).await) }))
        })
    }

    /// Declares that the service starts chains with an `E`, through its [outbox](crate::Outbox).
    pub fn begins<E: Message>(self) -> Reaction<E> {
        self.told(Vec::new(), None)
    }

    fn bound<E: Message, R>(
        self,
        inputs: Vec<EventType>,
        react: impl Fn(Tx, &[Body], &mut CommandKeys<'_>) -> Result<Running, Unreadable>
        + Send
        + Sync
        + 'static,
    ) -> Reaction<E, R> {
        self.told(inputs, Some(Arc::new(react)))
    }

    fn told<E: Message, R>(
        self,
        inputs: Vec<EventType>,
        react: Option<Arc<React>>,
    ) -> Reaction<E, R> {
        let (name, tells, fails, undo) = (self.0, EventType::of::<E>(), None, None);
        let (never_after, overdue, pivot) = (Vec::new(), None, false);
        let declared =
            Declared { name, inputs, react, tells, fails, undo, never_after, overdue, pivot };
        Reaction { declared, tells: PhantomData }
    }
}

impl<E: Message, R> Reaction<E, R> {
    /// Reports each refusal by an `F`. Its fields `code` and `reason` hold the refusal; the others
    /// come from the reaction's first event. The handler's writes are rolled back.
    ///
    /// # Panics
    /// Panics if that event lacks a field of `F`.
    pub fn fails<F: Message>(mut self) -> Reaction<E, FailureEvent> {
        let fails = EventType::of::<F>();
        let given = self.declared.inputs.first().map_or(&[][..], |input| input.fields);
        let lacks =
            fails.fields.iter().find(|field| !WHY.contains(field) && !given.contains(field));
        assert!(
            lacks.is_none(),
            "the first event of the reaction has no field '{}' for '{}'",
            lacks.unwrap_or(&""),
            fails.name
        );
        self.declared.fails = Some(fails);
        Reaction { declared: self.declared, tells: PhantomData }
    }

    /// Cancels the reaction once one of these events has arrived, unless it has run. It then emits
    /// nothing, and events that wait for it are dropped.
    ///
    /// Use it for an event that ends a chain early: `never_after::<(OrderCancelled,)>()`.
    pub fn never_after<T: AnyOf>(mut self) -> Reaction<E, R> {
        self.declared.never_after = T::all();
        self
    }

    /// Declares the reaction as the plan's point of no return: later reactions neither fail nor are
    /// undone.
    pub fn pivot(mut self) -> Reaction<E, R> {
        self.declared.pivot = true;
        self
    }

    /// Gives the reaction up when the overdue event `O` arrives, and reports that as a refusal. If
    /// the reaction has run, it emits its event again.
    ///
    /// It also declares the reaction as the pivot, because no other service knows whether an undo
    /// is possible.
    ///
    /// # Panics
    /// Panics if the reaction has no failure event, or `O` lacks a field of it.
    pub fn gives_up_on<O: Message>(mut self) -> Reaction<E, R> {
        let overdue = EventType::of::<O>();
        let fails = self.declared.fails.unwrap_or_else(|| {
            panic!("'{}' has no failure event: add .fails::<Event>()", self.declared.name)
        });
        let lacks = fails
            .fields
            .iter()
            .find(|field| !WHY.contains(field) && !overdue.fields.contains(field));
        assert!(
            lacks.is_none(),
            "'{}' has no field '{}' for '{}'",
            overdue.name,
            lacks.unwrap_or(&""),
            fails.name
        );
        self.declared.overdue = Some(overdue);
        self
    }

    /// Sets the undo. Its handler receives the `E` that was emitted, and is called only if there is
    /// something to undo.
    pub fn undone_by<U, F, Fut>(mut self, handler: F, undoing: Undoing) -> Reaction<E, R>
    where
        U: IntoRefusal + Send + 'static,
        F: Fn(Tx, E) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<(), U>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run =
            move |tx: Tx, told: &Body, keys: &mut CommandKeys<'_>| -> Result<Running, Unreadable> {
                let told: E = read_output(told)?;
                keys.read(&told);
                let handler = Arc::clone(&handler);
                Ok(Box::pin(async move { undone(handler(tx, told).await) }))
            };
        let Undoing { on, says } = undoing;
        self.declared.undo = Some(DeclaredUndo { on, says, run: Arc::new(run) });
        self
    }

    pub(crate) fn declared(self) -> Declared {
        self.declared
    }
}

/// The fields of a failure event that hold the refusal.
const WHY: [&str; 2] = ["code", "reason"];

impl EventType {
    fn of<E: Message>() -> EventType {
        EventType { name: E::NAME, fields: <E::From as Mirror>::FIELDS, schema: E::schema }
    }

    /// Returns the body of this event, with fields of its cause, verbatim, and of the refusal. A
    /// cause that is no object has no fields: its chain fails all the same.
    fn from(self, cause: &Body, refusal: Option<&Refusal>) -> Option<Body> {
        let mut given: BTreeMap<String, Box<RawValue>> = cause.read().unwrap_or_default();
        if let Some(Refusal { code, message }) = refusal {
            given.insert("code".to_owned(), to_raw_value(code).ok()?);
            given.insert("reason".to_owned(), to_raw_value(message).ok()?);
        }
        given.retain(|field, _| self.fields.contains(&field.as_str()));
        Body::of(&given).ok()
    }
}

impl fmt::Debug for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declared").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Declared {
    /// Returns the reaction as a plan states it.
    pub fn as_planned(&self) -> plan::Declared {
        let names = |told: &[EventType]| {
            told.iter().filter_map(|told| told.name.parse().ok()).collect::<Vec<Name>>()
        };
        let undo = self.undo.as_ref().and_then(|undo| {
            Some(plan::Undo { on: names(&undo.on), emits: undo.says.name.parse().ok()? })
        });
        let (on, emits, fails) =
            (names(&self.inputs), names(&[self.tells]), names(self.fails.as_slice()));
        let (never_after, overdue) =
            (names(&self.never_after), names(self.overdue.as_slice()).pop());
        let pivot = self.pivot || self.overdue.is_some();
        plan::Declared {
            reaction: self.name.clone(),
            on,
            emits,
            fails,
            undo,
            never_after,
            overdue,
            pivot,
        }
    }

    /// Returns the events that it consumes, each with the direction that it triggers.
    pub fn triggers(&self) -> impl Iterator<Item = (&'static str, Direction)> + '_ {
        let acts = self.acts_on().map(|input| (input.name, Direction::Action));
        acts.chain(self.undone_on().map(|failure| (failure.name, Direction::Compensation)))
    }

    /// Returns the types of the events that it consumes.
    pub fn consumed(&self) -> impl Iterator<Item = &EventType> {
        self.acts_on().chain(self.undone_on())
    }

    fn acts_on(&self) -> impl Iterator<Item = &EventType> {
        self.inputs.iter().chain(&self.never_after).chain(&self.overdue)
    }

    fn undone_on(&self) -> impl Iterator<Item = &EventType> {
        self.undo.iter().flat_map(|undo| &undo.on)
    }

    /// Returns every event that it may emit.
    pub fn tells(&self) -> impl Iterator<Item = &'static str> + '_ {
        let undone = self.undo.as_ref().map(|undo| undo.says.name);
        std::iter::once(self.tells.name).chain(self.fails.map(|fails| fails.name)).chain(undone)
    }

    /// Returns the name and body of the event that reports an outcome. `cause` is the body of the
    /// reaction's first event, or of the failure.
    ///
    /// Returns `None` for a refusal without a failure event.
    pub fn event(
        &self,
        direction: Direction,
        outcome: &Outcome,
        cause: &Body,
    ) -> Option<(&'static str, Body)> {
        match (direction, outcome) {
            (Direction::Action, Outcome::Done(told)) => Some((self.tells.name, told.clone())),
            (Direction::Action, Outcome::Refused(refusal)) => {
                let fails = self.fails?;
                Some((fails.name, fails.from(cause, Some(refusal))?))
            }
            (Direction::Compensation, Outcome::Done(_)) => {
                let says = self.undo.as_ref()?.says;
                Some((says.name, says.from(cause, None)?))
            }
            (Direction::Compensation, Outcome::Refused(_)) | (_, Outcome::Fault(_)) => None,
            (Direction::Query, _) => None,
        }
    }
}

fn body<A: Message>(bodies: &[Body], place: usize) -> Result<A, Unreadable> {
    bodies
        .get(place)
        .map_or_else(|| Err(Unreadable::Body("the event is missing".to_owned())), read_body)
}

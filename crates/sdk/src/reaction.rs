//! What a service does about events: a reaction carries something out when events of a chain are there, and tells what came of
//! it by an event; its undo takes that back when one of certain failures happens, and tells that as well.
//!
//! A reaction is a step of its chain: its barrier row, its stored answer and its undo are those of a command. Only who asks
//! and what is answered differ.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use sagamore_core::message::{IntoRefusal, Never};
use sagamore_core::typed::{Message, Mirror};
use sagamore_core::{Body, Direction, Name, Outcome, Refusal, plan};
use sagamore_database::Tx;
use serde_json::{Map, Value};

use crate::decided::Decided;
use crate::handler::{Running, Unreadable, erase, read_body, read_output, undone};
use crate::keys::CommandKeys;

type React = dyn Fn(Tx, &[Body], &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync;
type Undo = dyn Fn(Tx, &Body, &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync;

/// A reaction that is told by an `E`, the event that says it holds.
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

/// What a reaction is refused with, once it is said by which event that is told.
#[derive(Clone, Copy, Debug)]
pub enum Told {}

/// A refusal that somebody hears of: there is none, or an event tells it. After the pivot of a plan nothing can be taken back,
/// and a business that says no there is a fault: `Err(rejected)?` in the handler, and not `refused(rejected)`.
#[diagnostic::on_unimplemented(
    message = "this reaction may be refused with `{Self}`, and no event tells that",
    label = "nobody would hear of the refusal, and the chain would be stuck",
    note = "add `.fails::<Event>()`, or let the handler give `Decided<_, Never>` and make a fault of what cannot be refused"
)]
pub trait Heard: Sealed {}

impl Heard for Never {}
impl Heard for Told {}

/// Nobody else says what is heard.
#[doc(hidden)]
pub trait Sealed {}

impl Sealed for Never {}
impl Sealed for Told {}

/// A reaction that does not say yet what it reacts to.
pub struct Unbound(Name);

/// Failures, any of which leads to an undo.
pub struct On(Vec<EventType>);

/// Failures that lead to an undo, and the event by which that is told.
pub struct Undoing {
    on: Vec<EventType>,
    says: EventType,
}

/// An event's name and the fields of its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventType {
    pub name: &'static str,
    fields: &'static [&'static str],
}

/// A reaction as the participant keeps it, without types.
#[derive(Clone)]
pub(crate) struct Declared {
    pub name: Name,
    /// All of these have to be there. None: the service itself begins the chain by it.
    pub inputs: Vec<EventType>,
    pub react: Option<Arc<React>>,
    /// Says that it holds.
    pub tells: EventType,
    /// Says that it was refused.
    pub fails: Option<EventType>,
    pub undo: Option<DeclaredUndo>,
    /// After any of these it never runs, unless it has.
    pub never_after: Vec<EventType>,
    /// It is given up on this event, unless it has acted.
    pub overdue: Option<EventType>,
    /// The plan's point of no return.
    pub pivot: bool,
}

/// An undo likewise.
#[derive(Clone)]
pub(crate) struct DeclaredUndo {
    pub on: Vec<EventType>,
    pub says: EventType,
    pub run: Arc<Undo>,
}

/// Tuples of events, any one of which is meant.
pub trait AnyOf {
    /// Their names and fields.
    #[doc(hidden)]
    fn all() -> Vec<(&'static str, &'static [&'static str])>;
}

macro_rules! any_of {
    ($($event:ident),+) => {
        impl<$($event: Message),+> AnyOf for ($($event,)+) {
            fn all() -> Vec<(&'static str, &'static [&'static str])> {
                vec![$(($event::NAME, <$event::From as Mirror>::FIELDS)),+]
            }
        }
    };
}
any_of!(A);
any_of!(A, B);
any_of!(A, B, C);
any_of!(A, B, C, D);

/// Any of these events: `on::<(InventoryFailed, ShippingFailed)>()`.
pub fn on<T: AnyOf>() -> On {
    On(EventType::any::<T>())
}

impl On {
    /// Each undo tells an `E`, also when there was nothing to undo. Its fields come from the failure.
    ///
    /// # Panics
    /// When one of the failures lacks a field of it.
    pub fn says<E: Message>(self) -> Undoing {
        let says = EventType::of::<E>();
        for failure in &self.0 {
            let lacks = says.fields.iter().find(|field| !failure.fields.contains(field));
            assert!(lacks.is_none(), "'{}' has no field '{}' for '{}'", failure.name, lacks.unwrap_or(&""), says.name);
        }
        Undoing { on: self.0, says }
    }
}

impl Reaction<()> {
    /// A reaction with a name that is its own in its plan.
    ///
    /// # Panics
    /// When `name` is no [`Name`].
    pub fn named(name: &str) -> Unbound {
        Unbound(Name::new(name).unwrap_or_else(|malformed| panic!("declare reaction: {malformed}")))
    }
}

impl Unbound {
    /// Carries something out about each `A`, in a local transaction that is given to the handler, and tells an `E`.
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

    /// The same once both events of a chain are there, in whatever order they come.
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
            let (one, other, handler) = (body::<A>(bodies, 0)?, body::<B>(bodies, 1)?, Arc::clone(&handler));
            keys.read(&one);
            keys.read(&other);
            Ok(Box::pin(async move { erase(handler(tx, one, other).await) }))
        })
    }

    /// The service begins a chain with an `E` by itself, through its [outbox](crate::Outbox).
    pub fn begins<E: Message>(self) -> Reaction<E> {
        self.told(Vec::new(), None)
    }

    fn bound<E: Message, R>(
        self,
        inputs: Vec<EventType>,
        react: impl Fn(Tx, &[Body], &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync + 'static,
    ) -> Reaction<E, R> {
        self.told(inputs, Some(Arc::new(react)))
    }

    fn told<E: Message, R>(self, inputs: Vec<EventType>, react: Option<Arc<React>>) -> Reaction<E, R> {
        let (name, tells, fails, undo) = (self.0, EventType::of::<E>(), None, None);
        let (never_after, overdue, pivot) = (Vec::new(), None, false);
        let declared = Declared { name, inputs, react, tells, fails, undo, never_after, overdue, pivot };
        Reaction { declared, tells: PhantomData }
    }
}

impl<E: Message, R> Reaction<E, R> {
    /// A refusal is told by an `F`: its fields `code` and `reason` say why, the others come from the first event reacted to.
    /// What the handler wrote before is undone.
    ///
    /// # Panics
    /// When that event lacks a field of it.
    pub fn fails<F: Message>(mut self) -> Reaction<E, Told> {
        let fails = EventType::of::<F>();
        let given = self.declared.inputs.first().map_or(&[][..], |input| input.fields);
        let lacks = fails.fields.iter().find(|field| !WHY.contains(field) && !given.contains(field));
        assert!(lacks.is_none(), "what is reacted to has no field '{}' for '{}'", lacks.unwrap_or(&""), fails.name);
        self.declared.fails = Some(fails);
        Reaction { declared: self.declared, tells: PhantomData }
    }

    /// Once one of these has happened it never runs, unless it has, and nobody is told: what waits for another event waits
    /// no more. For what ends a chain otherwise: `never_after::<(OrderCancelled,)>()`.
    pub fn never_after<T: AnyOf>(mut self) -> Reaction<E, R> {
        self.declared.never_after = EventType::any::<T>();
        self
    }

    /// Declares the reaction as the plan's point of no return: later reactions neither fail nor are undone.
    pub fn pivot(mut self) -> Reaction<E, R> {
        self.declared.pivot = true;
        self
    }

    /// When the chain is overdue it is given up for ever, and that is told as a refusal; if it has acted, what it told is
    /// told again. For the pivot of a plan alone: nobody else can tell whether there is still a way back.
    ///
    /// # Panics
    /// When it never fails, or the event lacks a field of how that is told.
    pub fn gives_up_on<O: Message>(mut self) -> Reaction<E, R> {
        let overdue = EventType::of::<O>();
        let fails =
            self.declared.fails.unwrap_or_else(|| panic!("'{}' says nowhere that it fails", self.declared.name));
        let lacks = fails.fields.iter().find(|field| !WHY.contains(field) && !overdue.fields.contains(field));
        assert!(lacks.is_none(), "'{}' has no field '{}' for '{}'", overdue.name, lacks.unwrap_or(&""), fails.name);
        self.declared.overdue = Some(overdue);
        self
    }

    /// Undoes it: the handler is given the `E` that was told, and is called only when there is something to undo.
    pub fn undone_by<U, F, Fut>(mut self, handler: F, undoing: Undoing) -> Reaction<E, R>
    where
        U: IntoRefusal + Send + 'static,
        F: Fn(Tx, E) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<(), U>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run = move |tx: Tx, told: &Body, keys: &mut CommandKeys<'_>| -> Result<Running, Unreadable> {
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

/// What a refusal itself says in the event that tells of it.
const WHY: [&str; 2] = ["code", "reason"];

impl EventType {
    fn of<E: Message>() -> EventType {
        EventType { name: E::NAME, fields: <E::From as Mirror>::FIELDS }
    }

    fn any<T: AnyOf>() -> Vec<EventType> {
        T::all().into_iter().map(|(name, fields)| EventType { name, fields }).collect()
    }

    /// The body of this event with the fields that another one has.
    fn from(self, cause: &Body, refusal: Option<&Refusal>) -> Option<Body> {
        let mut given: Map<String, Value> = cause.read().ok()?;
        if let Some(Refusal { code, message }) = refusal {
            given.insert("code".to_owned(), code.clone().into());
            given.insert("reason".to_owned(), message.clone().into());
        }
        given.retain(|field, _| self.fields.contains(&field.as_str()));
        Body::of(&given).ok()
    }
}

impl Declared {
    /// As a plan has it.
    pub fn as_planned(&self) -> plan::Declared {
        let names = |told: &[EventType]| told.iter().filter_map(|told| told.name.parse().ok()).collect::<Vec<Name>>();
        let undo = self
            .undo
            .as_ref()
            .and_then(|undo| Some(plan::Undo { on: names(&undo.on), emits: undo.says.name.parse().ok()? }));
        let (on, emits, fails) = (names(&self.inputs), names(&[self.tells]), names(self.fails.as_slice()));
        let (never_after, overdue) = (names(&self.never_after), names(self.overdue.as_slice()).pop());
        let pivot = self.pivot || self.overdue.is_some();
        plan::Declared { reaction: self.name.clone(), on, emits, fails, undo, never_after, overdue, pivot }
    }

    /// The events that it is interested in, each with what it is to it.
    pub fn triggers(&self) -> impl Iterator<Item = (&'static str, Direction)> + '_ {
        let acts = self
            .inputs
            .iter()
            .chain(&self.never_after)
            .chain(&self.overdue)
            .map(|input| (input.name, Direction::Action));
        let undoes = self.undo.iter().flat_map(|undo| &undo.on).map(|failure| (failure.name, Direction::Compensation));
        acts.chain(undoes)
    }

    /// Every event that it may tell.
    pub fn tells(&self) -> impl Iterator<Item = &'static str> + '_ {
        let undone = self.undo.as_ref().map(|undo| undo.says.name);
        std::iter::once(self.tells.name).chain(self.fails.map(|fails| fails.name)).chain(undone)
    }

    /// The event that tells what came of it, by name and body. `cause`: the body of the first event reacted to, or of the
    /// failure. None: it was refused, and nobody is told; or the cause cannot be read.
    pub fn event(&self, direction: Direction, outcome: &Outcome, cause: &Body) -> Option<(&'static str, Body)> {
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
        }
    }
}

fn body<A: Message>(bodies: &[Body], place: usize) -> Result<A, Unreadable> {
    bodies.get(place).map_or_else(|| Err(Unreadable::Body("it is not there".to_owned())), read_body)
}

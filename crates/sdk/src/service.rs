//! The declaration of a service: its name, its schema, its handlers and its reactions.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use sagamore_core::announcement::{ANNOUNCED_MAX, HandledMessage, MessageKind, schema_hash};
use sagamore_core::message::IntoRefusal;
use sagamore_core::typed::{Action, Message, Undoes};
use sagamore_core::{Direction, Name, plan};
use sagamore_database::{Migration, Tx};

use crate::decided::Decided;
use crate::handler::{self, CompensationHandler, Handler};
use crate::keys::{Key, KeyReaders};
use crate::reaction::{Declared, Reaction, RefusalReport};

/// A service that takes part in sagas. Clones share the handlers.
///
/// ```
/// # extern crate sagamore_sdk as sagamore;
/// # use sagamore_sdk::{Decided, Message, Never, Service, Tx, done};
/// # #[derive(Message)] #[message(to = "payment", yields = Charged)] struct Charge { cents: i64 }
/// # #[derive(Message)] struct Charged { cents: i64 }
/// # #[derive(Message)] #[message(to = "payment", undoes = Charge)] struct Refund;
/// # async fn charge(_: Tx, charge: Charge) -> Decided<Charged, Never> { done(Charged { cents: charge.cents }) }
/// # async fn refund(_: Tx, _: Charged) -> Decided<(), Never> { done(()) }
/// let payment = Service::named("payment").action(charge).compensation::<Refund>(refund);
/// assert_eq!(payment.name().as_str(), "payment");
/// ```
#[derive(Clone)]
pub struct Service {
    name: Name,
    migrations: Vec<&'static [Migration]>,
    program: u32,
    keys: KeyReaders,
    handlers: BTreeMap<&'static str, Handler>,
    /// The hashes of the schemas of commands and events, by name.
    schemas: BTreeMap<&'static str, String>,
    reactions: BTreeMap<Name, Arc<Declared>>,
}

impl Service {
    /// A service without handlers. Its name is its group at the transport and the owner of its
    /// barrier.
    ///
    /// # Panics
    /// Panics if `name` is not a [`Name`].
    pub fn named(name: &str) -> Service {
        let name =
            Name::new(name).unwrap_or_else(|malformed| panic!("declare service: {malformed}"));
        Service {
            name,
            migrations: Vec::new(),
            program: 1,
            keys: KeyReaders::default(),
            handlers: BTreeMap::new(),
            schemas: BTreeMap::new(),
            reactions: BTreeMap::new(),
        }
    }

    /// Adds the service's own schema. The tables of the barrier are added by the participant.
    pub fn migrations(mut self, migrations: &'static [Migration]) -> Service {
        self.migrations.push(migrations);
        self
    }

    /// Sets the version of this program, 1 by default. A schema may require a newer one.
    pub fn program(mut self, version: u32) -> Service {
        self.program = version;
        self
    }

    /// Adds the handler of the action `C`. It runs in one local transaction, its `Tx`.
    ///
    /// A handler has no effect outside of its transaction, and may run more than once.
    ///
    /// # Panics
    /// Panics if `C` belongs to another service or has a handler already.
    pub fn action<C, F, Fut, R>(self, handler: F) -> Service
    where
        C: Action,
        F: Fn(Tx, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<C::Output, R>> + Send + 'static,
        R: IntoRefusal + Send + 'static,
    {
        self.with::<C, C>(handler::action(handler))
    }

    /// Adds the handler of the compensation `U`. It receives the stored output of the action, and
    /// is called only if there is something to undo.
    ///
    /// A handler that undoes another action does not compile:
    /// ```compile_fail,E0277
    /// # extern crate sagamore_sdk as sagamore;
    /// # use sagamore_sdk::{Decided, Message, Never, Service, Tx, done};
    /// # #[derive(Message)] #[message(to = "payment", yields = Charged)] struct Charge { cents: i64 }
    /// # #[derive(Message)] struct Charged { cents: i64 }
    /// # #[derive(Message)] struct Reserved { sku: String }
    /// # #[derive(Message)] #[message(to = "payment", undoes = Charge)] struct Refund;
    /// async fn release(_: Tx, _: Reserved) -> Decided<(), Never> { done(()) }
    ///
    /// // the output of `Charge` is `Charged`
    /// Service::named("payment").compensation::<Refund>(release);
    /// ```
    ///
    /// # Panics
    /// Panics if `U` belongs to another service or has a handler already.
    pub fn compensation<U: Undoes>(self, handler: impl CompensationHandler<U>) -> Service {
        self.with::<U, U::Action>(handler::compensation(handler))
    }

    /// Adds the handler of a compensation that also receives the fields of the compensating
    /// message.
    ///
    /// # Panics
    /// Panics if `U` belongs to another service or has a handler already.
    pub fn compensation_with<U, F, Fut, R>(self, handler: F) -> Service
    where
        U: Undoes,
        F: Fn(Tx, U, <U::Action as Action>::Output) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<(), R>> + Send + 'static,
        R: IntoRefusal + Send + 'static,
    {
        self.with::<U, U::Action>(handler::compensation_with(handler))
    }

    /// Declares a key of messages of type `M`: of a command, of a compensation's stored output, or
    /// of an event.
    ///
    /// Without keys, a chunk's handlers run one after another. With keys, handlers that share none
    /// interleave on the chunk's transaction, and their statements share one round trip.
    ///
    /// Commands that share a key run in order, and a command without any key runs alone. A key must
    /// name each row that its handler depends on. Each write must be one guarded statement (`UPDATE
    /// .. WHERE balance >= $2`).
    ///
    /// Several declarations give a message several keys. Keys have no namespaces: an order and a
    /// customer of the same name share a key, which only costs time.
    ///
    /// ```
    /// # extern crate sagamore_sdk as sagamore;
    /// # use sagamore_sdk::{Decided, Message, Never, Service, Tx, done};
    /// # #[derive(Message)] #[message(to = "payment", yields = Charged)] struct Charge { customer_id: String }
    /// # #[derive(Message)] struct Charged { customer_id: String }
    /// # #[derive(Message)] #[message(to = "payment", undoes = Charge)] struct Refund;
    /// # async fn charge(_: Tx, charge: Charge) -> Decided<Charged, Never> { done(Charged { customer_id: charge.customer_id }) }
    /// # async fn refund(_: Tx, _: Charged) -> Decided<(), Never> { done(()) }
    /// Service::named("payment")
    ///     .action(charge)
    ///     .compensation::<Refund>(refund)
    ///     .keyed_by(|charge: &Charge| &charge.customer_id)
    ///     .keyed_by(|charged: &Charged| &charged.customer_id);
    /// ```
    pub fn keyed_by<M: Message>(
        mut self,
        key: impl for<'a> Fn(&'a M) -> &'a str + Send + Sync + 'static,
    ) -> Service {
        self.keys.add(move |message: &M, keys| keys.push(Key::of(key(message))));
        self
    }

    /// Declares keys like [`Service::keyed_by`], for messages with a list of keys, such as the
    /// products of an order.
    pub fn keyed_by_each<M: Message>(
        mut self,
        each: impl for<'a> Fn(&'a M) -> Vec<&'a str> + Send + Sync + 'static,
    ) -> Service {
        self.keys.add(move |message: &M, keys| keys.extend(each(message).into_iter().map(Key::of)));
        self
    }

    /// Adds a reaction to events. A reaction that may be refused needs an event that reports it:
    ///
    /// ```compile_fail,E0277
    /// # extern crate sagamore_sdk as sagamore;
    /// # use sagamore_sdk::{Decided, Message, Reaction, Refusal, Service, Tx, done};
    /// # #[derive(Message)] #[message(name = "order.created")] struct OrderCreated { order_id: String }
    /// # #[derive(Message)] #[message(name = "payment.success")] struct PaymentSuccess { order_id: String }
    /// # async fn charge(_: Tx, order: OrderCreated) -> Decided<PaymentSuccess, Refusal> {
    /// #     done(PaymentSuccess { order_id: order.order_id })
    /// # }
    /// // .fails::<PaymentFailed>() is missing
    /// Service::named("payment").reaction(Reaction::named("charge").to(charge));
    /// ```
    ///
    /// # Panics
    /// Panics if the service has a reaction of this name.
    pub fn reaction<E: Message, R: RefusalReport>(mut self, reaction: Reaction<E, R>) -> Service {
        let declared = reaction.declared();
        for event in declared.consumed() {
            self.add_schema(event.name, (event.schema)());
        }
        let name = declared.name.clone();
        let former = self.reactions.insert(name.clone(), Arc::new(declared));
        assert!(former.is_none(), "service '{}' has two reactions '{name}'", self.name);
        self
    }

    /// Returns the events that it consumes, each once, by name.
    pub fn reacts_to(&self) -> impl Iterator<Item = &'static str> + '_ {
        let triggers = self.reactions.values().flat_map(|reaction| reaction.triggers());
        triggers.map(|(event, _)| event).collect::<BTreeSet<_>>().into_iter()
    }

    /// Returns the events that it may emit, each once, by name.
    pub fn tells(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.reactions
            .values()
            .flat_map(|reaction| reaction.tells())
            .collect::<BTreeSet<_>>()
            .into_iter()
    }

    /// Returns its reactions as a plan states them: to compare them with one
    /// ([`plan::declared`](sagamore_core::plan::declared())) or to derive one
    /// ([`plan::Plan::from_services`]).
    pub fn declares(&self) -> Vec<plan::Declared> {
        self.reactions.values().map(|reaction| reaction.as_planned()).collect()
    }

    /// Returns whether it takes part in choreographies.
    pub(crate) fn is_choreographed(&self) -> bool {
        !self.reactions.is_empty()
    }

    /// Returns whether it starts chains.
    pub(crate) fn begins_chains(&self) -> bool {
        self.reactions.values().any(|reaction| reaction.inputs.is_empty())
    }

    /// Returns whether it accepts commands.
    pub(crate) fn is_commanded(&self) -> bool {
        !self.handlers.is_empty() || self.reactions.is_empty()
    }

    /// Returns the reactions that an event of this name triggers, each with its direction.
    pub(crate) fn triggered_by(&self, event: &str) -> Vec<(&Arc<Declared>, Direction)> {
        let mut triggered = Vec::new();
        for reaction in self.reactions.values() {
            let directions = reaction.triggers().filter(|(name, _)| *name == event);
            triggered.extend(directions.map(|(_, direction)| (reaction, direction)));
        }
        triggered
    }

    /// Returns the functions that read keys.
    pub(crate) fn keys(&self) -> &KeyReaders {
        &self.keys
    }

    /// Returns the service's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the names of the commands that it has handlers for.
    pub fn knows(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.handlers.keys().copied()
    }

    /// Returns the messages that it handles, as it announces them.
    pub(crate) fn handled(&self) -> Vec<HandledMessage> {
        let commands = self.handlers.iter().map(|(name, handler)| match handler {
            Handler::Action { .. } => (*name, MessageKind::Action),
            Handler::Compensation { .. } => (*name, MessageKind::Compensation),
        });
        let events = self.reacts_to().map(|name| (name, MessageKind::Reaction));
        let handled = commands.chain(events).filter_map(|(name, kind)| {
            let schema = self.schemas.get(name).cloned();
            Some(HandledMessage { name: name.parse().ok()?, kind, schema })
        });
        handled.take(ANNOUNCED_MAX).collect()
    }

    /// Returns the service's own migrations, in the order declared.
    pub(crate) fn schema(&self) -> Vec<Migration> {
        self.migrations.concat()
    }

    /// Returns the version set by [`Service::program`].
    pub(crate) fn program_version(&self) -> u32 {
        self.program
    }

    /// Returns the handler of a message. Only declared names lead to code.
    pub(crate) fn handler(&self, name: &Name) -> Option<&Handler> {
        self.handlers.get(name.as_str())
    }

    fn with<M: Message, A: Action>(mut self, handler: Handler) -> Service {
        let (message, name) = (M::NAME, &self.name);
        assert_eq!(
            A::PARTICIPANT,
            name.as_str(),
            "'{message}' belongs to another service than '{name}'"
        );
        assert!(
            self.handlers.insert(message, handler).is_none(),
            "'{message}' has two handlers in service '{name}'"
        );
        self.add_schema(message, M::schema());
        self
    }
}

impl Service {
    fn add_schema(&mut self, message: &'static str, schema: Option<serde_json::Value>) {
        self.schemas.extend(schema.map(|schema| (message, schema_hash(&schema))));
    }
}

impl plan::ReactionSource for Service {
    fn service(&self) -> &Name {
        &self.name
    }

    fn reactions(&self) -> Vec<plan::Declared> {
        self.declares()
    }
}

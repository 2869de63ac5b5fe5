//! The declaration of a service: its name, its schema, and what it can be asked.

use std::collections::BTreeMap;
use std::future::Future;

use sagamore_core::Name;
use sagamore_core::message::IntoRefusal;
use sagamore_core::typed::{Action, Message, Undoes};
use sagamore_database::{Migration, Tx};

use crate::decided::Decided;
use crate::handler::{self, Handler};

/// A service that takes part in sagas. Clones share the handlers.
///
/// ```
/// # use sagamore_sdk::{Decided, Message, Never, Service, Tx, done};
/// # #[derive(Message)] #[message(to = "payment", yields = Charged)] struct Charge { cents: i64 }
/// # #[derive(Message)] struct Charged { cents: i64 }
/// # #[derive(Message)] #[message(to = "payment", undoes = Charge)] struct Refund;
/// # async fn charge(_: Tx, charge: Charge) -> Decided<Charged, Never> { done(Charged { cents: charge.cents }) }
/// # async fn refund(_: Tx, _: Charged) -> Decided<(), Never> { done(()) }
/// let payment = Service::named("payment").action(charge).compensation(Refund, refund);
/// assert_eq!(payment.name().as_str(), "payment");
/// ```
#[derive(Clone)]
pub struct Service {
    name: Name,
    migrations: Vec<&'static [Migration]>,
    program: u32,
    interleaves: bool,
    handlers: BTreeMap<&'static str, Handler>,
}

impl Service {
    /// A service without handlers. Its name is its group at the transport and the owner of its barrier.
    ///
    /// # Panics
    /// When `name` is no [`Name`].
    pub fn named(name: &str) -> Service {
        let name = Name::new(name).unwrap_or_else(|malformed| panic!("declare service: {malformed}"));
        Service { name, migrations: Vec::new(), program: 1, interleaves: false, handlers: BTreeMap::new() }
    }

    /// The service's own schema; the barrier's comes by itself.
    pub fn migrations(mut self, migrations: &'static [Migration]) -> Service {
        self.migrations.push(migrations);
        self
    }

    /// The version of this program, 1 unless it says so: a schema may ask for a newer one.
    pub fn program(mut self, version: u32) -> Service {
        self.program = version;
        self
    }

    /// Promises that every write of every handler is one guarded statement (`UPDATE .. WHERE balance >= $2`): then the
    /// handlers of a chunk may work side by side in their one transaction, and a server that is asked over a network is
    /// asked for all of them at once. One handler is not protected from the next by `FOR UPDATE` there.
    pub fn interleaved(mut self) -> Service {
        self.interleaves = true;
        self
    }

    /// Carries out `C`: one local transaction, given to the handler as `Tx`.
    ///
    /// A handler has no effect outside of its transaction, and may run more than once.
    ///
    /// # Panics
    /// When `C` is asked of another service, or has a handler already.
    pub fn action<C, F, Fut, R>(self, handler: F) -> Service
    where
        C: Action,
        F: Fn(Tx, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<C::Output, R>> + Send + 'static,
        R: IntoRefusal + Send + 'static,
    {
        self.with::<C, C>(handler::action(handler))
    }

    /// Undoes what `U` undoes. The handler is given what the action gave, as it was stored, and is called only when
    /// there is something to undo.
    ///
    /// # Panics
    /// When `U` is asked of another service, or has a handler already.
    pub fn compensation<U, F, Fut, R>(self, undo: U, handler: F) -> Service
    where
        U: Undoes,
        F: Fn(Tx, <U::Action as Action>::Output) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<(), R>> + Send + 'static,
        R: IntoRefusal + Send + 'static,
    {
        drop(undo); // it only names its type
        self.with::<U, U::Action>(handler::compensation::<U, F, Fut, R>(handler))
    }

    /// As [`Service::compensation`], for a handler that also wants the fields of the compensating message.
    ///
    /// # Panics
    /// When `U` is asked of another service, or has a handler already.
    pub fn compensation_with<U, F, Fut, R>(self, handler: F) -> Service
    where
        U: Undoes,
        F: Fn(Tx, U, <U::Action as Action>::Output) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Decided<(), R>> + Send + 'static,
        R: IntoRefusal + Send + 'static,
    {
        self.with::<U, U::Action>(handler::compensation_with(handler))
    }

    /// Whether the handlers of a chunk may work side by side.
    pub(crate) fn interleaves(&self) -> bool {
        self.interleaves
    }

    /// The service's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The names of the messages that it has handlers for.
    pub fn knows(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.handlers.keys().copied()
    }

    /// Its own migrations, in the order declared.
    pub(crate) fn schema(&self) -> Vec<Migration> {
        self.migrations.concat()
    }

    /// See [`Service::program`].
    pub(crate) fn program_version(&self) -> u32 {
        self.program
    }

    /// The registry: only names that were declared lead to code.
    pub(crate) fn handler(&self, name: &Name) -> Option<&Handler> {
        self.handlers.get(name.as_str())
    }

    fn with<M: Message, A: Action>(mut self, handler: Handler) -> Service {
        let (message, name) = (M::NAME, &self.name);
        assert_eq!(A::PARTICIPANT, name.as_str(), "'{message}' is asked of another service than '{name}'");
        assert!(self.handlers.insert(message, handler).is_none(), "'{message}' has two handlers in service '{name}'");
        self
    }
}

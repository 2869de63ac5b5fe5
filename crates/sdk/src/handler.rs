//! Handlers: typed, as services write them, and type-erased, as the participant stores them.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sagamore_core::message::IntoRefusal;
use sagamore_core::typed::{Action, Message, Undoes};
use sagamore_core::{Body, Refusal};
use sagamore_database::Tx;
use sagamore_schema::CompiledSchema;
use serde::Serialize;

use crate::decided::{Decided, Fault};
use crate::keys::CommandKeys;

/// A handler as a future. It does nothing before it is polled.
pub(crate) type Running = Pin<Box<dyn Future<Output = Decided<Body, Refusal>> + Send>>;

type RunAction =
    dyn Fn(Tx, &Body, &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync;
type RunCompensation =
    dyn Fn(Tx, &Body, &Body, &mut CommandKeys<'_>) -> Result<Running, Unreadable> + Send + Sync;

/// The handler of a message.
#[derive(Clone)]
pub(crate) enum Handler {
    /// Executes a step.
    Action {
        /// Starts the handler.
        run: Arc<RunAction>,
        /// Checks that the body is readable.
        check: fn(&Body) -> Result<(), Unreadable>,
    },
    /// Undoes a step. It receives the command's body and the action's stored output.
    Compensation {
        /// Starts the handler.
        run: Arc<RunCompensation>,
    },
}

/// A handler of the compensation `U`: an async function of a [`Tx`] and the output of the action
/// that `U` undoes.
///
/// The trait makes `.compensation::<Refund>(refund)` need only one type argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of the compensation `{U}`",
    note = "write `async fn(Tx, Output) -> Decided<(), R>`, with the output of the action that \
            `{U}` undoes"
)]
pub trait CompensationHandler<U: Undoes>: Send + Sync + 'static {
    /// Calls the handler when the future is polled.
    #[doc(hidden)]
    fn run(self: Arc<Self>, tx: Tx, output: OutputOf<U>) -> Running;
}

/// The output of the action that `U` undoes.
type OutputOf<U> = <<U as Undoes>::Action as Action>::Output;

impl<U, F, Fut, R> CompensationHandler<U> for F
where
    U: Undoes,
    F: Fn(Tx, OutputOf<U>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Decided<(), R>> + Send + 'static,
    R: IntoRefusal + Send + 'static,
{
    fn run(self: Arc<Self>, tx: Tx, output: OutputOf<U>) -> Running {
        Box::pin(async move { undone(self(tx, output).await) })
    }
}

/// The reason why a handler cannot start.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The command's body does not deserialize into the named message, and never will.
    Body(String),
    /// The service declares no handler of this name in this direction.
    Name(String),
    /// The stored output of the action is unreadable: a bug of this service.
    Output(String),
    /// The service's own deserialization panicked.
    Panic(String),
}

/// The schema of an action's output, compiled once.
struct OutputSchema {
    message: &'static str,
    schema: CompiledSchema,
}

impl OutputSchema {
    /// Compiles the schema of the output's type, if it has one.
    fn of<C: Action>() -> Option<Arc<OutputSchema>> {
        let (message, schema) = (C::NAME, <C::Output as Message>::schema()?);
        let schema = CompiledSchema::new(&schema).unwrap_or_else(|why| {
            panic!("declare service: the schema of the output of '{message}': {why}")
        });
        Some(Arc::new(OutputSchema { message, schema }))
    }

    /// Turns an output that does not fit into a fault, so that nothing of it is stored.
    fn check(&self, decided: Decided<Body, Refusal>) -> Decided<Body, Refusal> {
        if let Ok(Ok(output)) = &decided {
            self.schema.check(output).map_err(|misfits| {
                let message = self.message;
                Fault::new(format!("the output of '{message}' does not fit its schema: {misfits}"))
            })?;
        }
        decided
    }
}

/// Erases the types of an action's handler.
pub(crate) fn action<C, F, Fut, R>(handler: F) -> Handler
where
    C: Action,
    F: Fn(Tx, C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Decided<C::Output, R>> + Send + 'static,
    R: IntoRefusal + Send + 'static,
{
    let (handler, schema) = (Arc::new(handler), OutputSchema::of::<C>());
    let run =
        move |tx: Tx, body: &Body, keys: &mut CommandKeys<'_>| -> Result<Running, Unreadable> {
            let command: C = read_body(body)?;
            keys.read(&command);
            let (handler, schema) = (Arc::clone(&handler), schema.clone());
            Ok(Box::pin(async move {
                let decided = erase(handler(tx, command).await);
                match schema {
                    Some(schema) => schema.check(decided),
                    None => decided,
                }
            }))
        };
    Handler::Action { run: Arc::new(run), check: |body| read_body::<C>(body).map(drop) }
}

/// Erases the types of a compensation's handler.
pub(crate) fn compensation<U: Undoes>(handler: impl CompensationHandler<U>) -> Handler {
    let handler = Arc::new(handler);
    let run = move |tx: Tx,
                    _: &Body,
                    output: &Body,
                    keys: &mut CommandKeys<'_>|
          -> Result<Running, Unreadable> {
        let output = read_output(output)?;
        keys.read(&output);
        Ok(CompensationHandler::<U>::run(Arc::clone(&handler), tx, output))
    };
    Handler::Compensation { run: Arc::new(run) }
}

/// Erases the types of a compensation's handler that also receives the command's own fields.
pub(crate) fn compensation_with<U, F, Fut, R>(handler: F) -> Handler
where
    U: Undoes,
    F: Fn(Tx, U, <U::Action as Action>::Output) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Decided<(), R>> + Send + 'static,
    R: IntoRefusal + Send + 'static,
{
    let handler = Arc::new(handler);
    let run = move |tx: Tx,
                    body: &Body,
                    output: &Body,
                    keys: &mut CommandKeys<'_>|
          -> Result<Running, Unreadable> {
        let command: U = read_body(body)?;
        let output = read_output(output)?;
        keys.read(&command);
        keys.read(&output);
        let handler = Arc::clone(&handler);
        Ok(Box::pin(async move { undone(handler(tx, command, output).await) }))
    };
    Handler::Compensation { run: Arc::new(run) }
}

pub(crate) fn read_body<C: serde::de::DeserializeOwned>(body: &Body) -> Result<C, Unreadable> {
    body.read().map_err(|error| Unreadable::Body(error.to_string()))
}

pub(crate) fn read_output<T: serde::de::DeserializeOwned>(output: &Body) -> Result<T, Unreadable> {
    output.read().map_err(|error| Unreadable::Output(error.to_string()))
}

pub(crate) fn erase<T: Serialize>(decided: Decided<T, impl IntoRefusal>) -> Decided<Body, Refusal> {
    match decided? {
        Ok(output) => Ok(Ok(Body::of(&output)?)),
        Err(refusal) => Ok(Err(refusal.into_refusal())),
    }
}

/// Returns the empty output of an undo, as of a message without fields.
pub(crate) fn undone(decided: Decided<(), impl IntoRefusal>) -> Decided<Body, Refusal> {
    Ok(decided?.map(|()| Body::empty()).map_err(IntoRefusal::into_refusal))
}

impl Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Body(why) | Unreadable::Name(why) | Unreadable::Panic(why) => {
                f.write_str(why)
            }
            Unreadable::Output(why) => write!(f, "cannot read the action's stored output: {why}"),
        }
    }
}

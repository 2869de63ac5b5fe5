//! The verbs that a program adds to the command line.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use clap::{ArgMatches, Args, FromArgMatches};

use crate::invocation::Invocation;
use crate::output::Exit;

type VerbFuture = Pin<Box<dyn Future<Output = anyhow::Result<Exit>> + Send>>;
type RunVerb = Arc<dyn Fn(Invocation, &ArgMatches) -> VerbFuture + Send + Sync>;

/// A verb of a program.
#[derive(Clone)]
pub struct ProgramVerb {
    pub name: &'static str,
    pub augment: fn(clap::Command) -> clap::Command,
    pub run: RunVerb,
}

impl ProgramVerb {
    /// Creates a verb. The fields of `A` are its arguments, and the doc comment of `A` is its help.
    pub fn of<A: Args + FromArgMatches, F, E>(
        name: &'static str,
        run: impl Fn(Invocation, A) -> F + Send + Sync + 'static,
    ) -> ProgramVerb
    where
        F: Future<Output = Result<Exit, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let run = move |invocation: Invocation, matches: &ArgMatches| -> VerbFuture {
            let running = A::from_arg_matches(matches).map(|args| run(invocation, args));
            Box::pin(async move {
                running?.await.map_err(|error| anyhow::Error::from_boxed(error.into()))
            })
        };
        ProgramVerb { name, augment: A::augment_args, run: Arc::new(run) }
    }
}

//! The builder of a program: its stories, verbs and texts, and the ways to run it.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::future::Future;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, FromArgMatches};
use sagamore_core::{Body, Definition, Plan};
use sagamore_sdk::Service;
use sagamore_server::http::routes::Routes;
use sagamore_server::{Entry, Server, ServiceHost};
use tracing_subscriber::EnvFilter;

use crate::blueprint::Blueprint;
use crate::cli;
use crate::config::Settings;
use crate::invocation::{Invocation, StopSource};
use crate::output::{self, Exit, causes};
use crate::plain;
use crate::running::{Running, StartOptions};
use crate::story::Story;
use crate::verb::ProgramVerb;

pub use crate::blueprint::Greeting;
pub use crate::error::{BuildError, ProgramError};

/// A program with a server, an HTTP API and a command line under its own name, built from sagas and
/// services.
///
/// ```no_run
/// use sagamore::prelude::*;
/// # fn trip() -> Result<Definition, definition::Error> {
/// #     Definition::named("trip").version(1).build()
/// # }
/// # fn seats() -> Service { Service::named("seats") }
///
/// fn main() -> std::process::ExitCode {
///     sagamore::Program::named("trip").saga(trip).service(seats).main()
/// }
/// ```
#[derive(Clone)]
pub struct Program {
    blueprint: Blueprint,
    verbs: Vec<ProgramVerb>,
}

impl Program {
    /// Creates an empty program with this name.
    pub fn named(name: &'static str) -> Program {
        Program { blueprint: Blueprint::named(name), verbs: Vec::new() }
    }

    /// Sets the text that heads the help.
    pub fn about(mut self, about: &'static str) -> Program {
        self.blueprint.about = Some(about);
        self
    }

    /// Sets the version that `--version` prints, for example `env!("CARGO_PKG_VERSION")`. The
    /// default is this crate's version.
    pub fn version(mut self, version: &'static str) -> Program {
        self.blueprint.version = Some(version);
        self
    }

    /// Adds a saga; see [`Story::saga`].
    pub fn saga<E: Display>(self, saga: impl FnOnce() -> Result<Definition, E>) -> Program {
        self.map(|story| story.saga(saga))
    }

    /// Adds the plan of a choreography; see [`Story::plan`].
    pub fn plan<E: Display>(self, plan: impl FnOnce() -> Result<Plan, E>) -> Program {
        self.map(|story| story.plan(plan))
    }

    /// Adds a service; see [`Story::service`].
    pub fn service(self, service: impl FnOnce() -> Service) -> Program {
        self.map(|story| story.service(service))
    }

    /// Adds a service with its own routes; see [`Story::service_with_routes`].
    pub fn service_with_routes(
        self,
        service: impl FnOnce() -> Service,
        routes: impl Fn(&ServiceHost) -> Routes + Send + Sync + 'static,
    ) -> Program {
        self.map(|story| story.service_with_routes(service, routes))
    }

    /// Adds routes beside the API; see [`Story::routes`].
    pub fn routes(self, routes: impl Fn(&Server) -> Routes + Send + Sync + 'static) -> Program {
        self.map(|story| story.routes(routes))
    }

    /// Adds sample data for `dev`; see [`Story::on_dev`].
    pub fn on_dev<F, E>(self, samples: impl Fn(Server) -> F + Send + Sync + 'static) -> Program
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.map(|story| story.on_dev(samples))
    }

    /// Adds a sample input for starts without input; see [`Story::sample_input`].
    pub fn sample_input(
        self,
        saga: &str,
        input: impl Fn(&str) -> Body + Send + Sync + 'static,
    ) -> Program {
        self.map(|story| story.sample_input(saga, input))
    }

    /// Adds a second story, which `--choreography` or `choreography = true` in the configuration
    /// selects instead of the first. In `dev` it has its own data directory.
    pub fn choreography(mut self, story: impl FnOnce(Story) -> Story) -> Program {
        self.blueprint.choreography = Some(story(Story::default()));
        self
    }

    /// Adds the problems of the program's own routes to the pages at `/docs/errors`.
    pub fn problems(mut self, problems: impl IntoIterator<Item = &'static Entry>) -> Program {
        self.blueprint.problems.extend(problems);
        self
    }

    /// Sets the addresses and commands that `dev` prints.
    pub fn greeting(mut self, greeting: Greeting) -> Program {
        self.blueprint.greeting = greeting;
        self
    }

    /// Accepts `[NAME]` in the configuration for `[services.NAME]`.
    pub fn short_service_keys(mut self) -> Program {
        self.blueprint.short_keys = true;
        self
    }

    /// Adds a verb. The fields of `A` are its arguments, and the doc comment of `A` is its help.
    pub fn command<A: Args + FromArgMatches, F, E>(
        mut self,
        name: &'static str,
        run: impl Fn(Invocation, A) -> F + Send + Sync + 'static,
    ) -> Program
    where
        F: Future<Output = Result<Exit, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.verbs.push(ProgramVerb::of(name, run));
        self
    }

    /// Runs the program with the arguments of this process. It creates the runtime, and handles
    /// logs and signals.
    pub fn main(self) -> ExitCode {
        let name = self.blueprint.name;
        let (program, verbs) = match self.checked() {
            Ok(checked) => checked,
            Err(errors) => {
                output::complain(format_args!("{name}: {errors}\n"));
                return Exit::Error.code();
            }
        };
        let matches = cli::matches(&program, &verbs, std::env::args_os())
            .unwrap_or_else(|error| error.exit());
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                output::complain(format_args!("{name}: cannot start the runtime: {error}\n"));
                return Exit::Error.code();
            }
        };
        let ran = runtime.block_on(cli::run(program, &verbs, StopSource::Signals, &matches));
        let exit = ran.unwrap_or_else(|error| {
            output::complain(format_args!("{name}: {}\n", plain::visible(&causes(error.as_ref()))));
            Exit::Error
        });
        // a blocked task must not delay the end of the process
        runtime.shutdown_background();
        output::finish(name, exit).code()
    }

    /// Runs the program on the caller's runtime until `stop`. The first argument is the program's
    /// name.
    ///
    /// # Errors
    ///
    /// The builder's errors, an error for invalid arguments, or the error of the verb.
    pub fn run_async(
        self,
        arguments: impl IntoIterator<Item = String>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = Result<Exit, ProgramError>> + Send {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        async move {
            let (program, verbs) = self.checked().map_err(ProgramError::of)?;
            let matches = cli::matches(&program, &verbs, arguments).map_err(ProgramError::of)?;
            let ran = cli::run(program, &verbs, StopSource::given(stop), &matches).await;
            ran.map_err(ProgramError::of)
        }
    }

    /// Starts the embedded stack on the caller's runtime.
    ///
    /// # Errors
    ///
    /// The builder's errors, and errors of the data directory and the address.
    pub async fn start(self, options: StartOptions) -> Result<Running, ProgramError> {
        let (program, _) = self.checked().map_err(ProgramError::of)?;
        Running::start(&program, options).await.map_err(ProgramError::of)
    }

    /// Reads the configuration of this program from defaults, file and environment.
    ///
    /// # Errors
    ///
    /// All unknown, missing and invalid keys, each after its position.
    pub fn settings(&self, file: Option<&Path>) -> Result<Settings, ProgramError> {
        Settings::load(&self.blueprint.schema(), file)
    }

    /// Returns blueprint and verbs, or all errors of the builder.
    fn checked(self) -> Result<(Arc<Blueprint>, Vec<ProgramVerb>), BuildError> {
        let mut errors = self.blueprint.errors();
        for (index, verb) in self.verbs.iter().enumerate() {
            let is_taken = self.verbs[..index].iter().any(|other| other.name == verb.name);
            if is_taken || cli::is_verb(verb.name) {
                errors.push(format!("command '{}' already exists: choose another name", verb.name));
            }
        }
        if errors.is_empty() {
            Ok((Arc::new(self.blueprint), self.verbs))
        } else {
            Err(BuildError(errors))
        }
    }

    fn map(mut self, change: impl FnOnce(Story) -> Story) -> Program {
        self.blueprint.story = change(std::mem::take(&mut self.blueprint.story));
        self
    }
}

#[cfg(test)]
mod tests {
    use sagamore_sdk::Message;

    use super::*;

    #[derive(Message)]
    #[message(crate = sagamore_sdk, to = "carrier")]
    struct Carry {
        parcel: String,
    }

    #[derive(Message)]
    #[message(crate = sagamore_sdk)]
    struct Parcel {
        parcel: String,
    }

    #[test]
    fn the_configuration_names_the_services_that_sagas_name() {
        let mut post = Definition::named("post");
        let parcel = post.input::<Parcel>();
        post.pivot("carry").sends(CarryFrom { parcel: parcel.parcel });
        let program =
            Program::named("post").saga(|| post.build()).service(|| Service::named("desk"));
        let named = |name: &str| {
            let directory = tempfile::tempdir().expect("a directory");
            let file = directory.path().join("post.toml");
            std::fs::write(&file, format!("[services.{name}]\npartitions = 3\n")).expect("written");
            program
                .settings(Some(&file))
                .map(|settings| settings.service(name).map(|service| service.partitions))
        };
        assert_eq!(named("desk").expect("a service of the program"), Some(3));
        assert_eq!(named("carrier").expect("named by a saga"), Some(3));
        assert!(named("carier").is_err(), "a name that no saga has is unknown");
    }

    #[test]
    fn short_keys_include_the_services_of_other_programs() {
        let mut post = Definition::named("post");
        let parcel = post.input::<Parcel>();
        post.pivot("carry").sends(CarryFrom { parcel: parcel.parcel });
        let program = Program::named("post").saga(|| post.build()).short_service_keys();
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("post.toml");
        std::fs::write(&file, "[carrier]\npartitions = 3\n").expect("written");
        let settings = program.settings(Some(&file)).expect("valid");
        assert_eq!(settings.service("carrier").map(|service| service.partitions), Some(3));
    }
}

//! The parts of a program, without its verbs.

use std::collections::BTreeSet;

use sagamore_core::{Name, Plan};
use sagamore_server::Entry;

use crate::config::{RESERVED, Schema};
use crate::story::Story;

/// The stories and texts of a program.
#[derive(Clone)]
pub struct Blueprint {
    pub name: &'static str,
    pub about: Option<&'static str>,
    pub version: Option<&'static str>,
    pub story: Story,
    pub choreography: Option<Story>,
    pub problems: Vec<&'static Entry>,
    pub greeting: Greeting,
    /// Whether `[NAME]` in the configuration stands for `[services.NAME]`.
    pub short_keys: bool,
}

/// The addresses and commands that `dev` prints when it is ready. In a command, `{server}` stands
/// for the server's address, and `{flag}` for `--server` with the address, or nothing for the
/// default port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeting {
    /// Names and paths, for example `("orders", "/orders")`.
    pub links: &'static [(&'static str, &'static str)],
    /// Commands to try.
    pub commands: &'static [&'static str],
}

impl Blueprint {
    /// Creates an empty blueprint with this name.
    pub fn named(name: &'static str) -> Blueprint {
        Blueprint {
            name,
            about: None,
            version: None,
            story: Story::default(),
            choreography: None,
            problems: Vec::new(),
            greeting: Greeting::default(),
            short_keys: false,
        }
    }

    /// Returns all errors of the builder, except those of verbs.
    pub fn errors(&self) -> Vec<String> {
        let mut errors: Vec<String> =
            self.stories().flat_map(|story| story.errors.iter().cloned()).collect();
        for name in self.service_names() {
            if RESERVED.contains(&name.as_str()) {
                errors.push(format!(
                    "service '{name}': the configuration reserves this name: choose another"
                ));
            }
        }
        errors
    }

    /// Returns the second story if `choreography` selects it, otherwise the first.
    pub fn story(&self, choreography: bool) -> &Story {
        self.choreography.as_ref().filter(|_| choreography).unwrap_or(&self.story)
    }

    /// Returns the story that `choreography` selects, for changes.
    pub fn story_mut(&mut self, choreography: bool) -> &mut Story {
        match &mut self.choreography {
            Some(second) if choreography => second,
            Some(_) | None => &mut self.story,
        }
    }

    /// Returns both stories.
    pub fn stories(&self) -> impl Iterator<Item = &Story> {
        std::iter::once(&self.story).chain(&self.choreography)
    }

    /// Returns the names of all services, in the order of their addition and without duplicates.
    pub fn service_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for entry in self.stories().flat_map(|story| &story.services) {
            if names.iter().all(|other| other != entry.name().as_str()) {
                names.push(entry.name().to_string());
            }
        }
        names
    }

    /// Returns the services that sagas and plans name and that other programs run.
    fn external_names(&self) -> Vec<String> {
        let of_sagas = self.stories().flat_map(|story| &story.sagas).flat_map(|saga| &saga.steps);
        let of_sagas =
            of_sagas.flat_map(|step| std::iter::once(&step.action).chain(&step.compensation));
        let of_plans = self
            .stories()
            .flat_map(|story| &story.plans)
            .flat_map(Plan::parts)
            .map(|part| part.service);
        let named: BTreeSet<&Name> = of_sagas.map(|ask| &ask.participant).chain(of_plans).collect();
        let built_in = self.service_names();
        let is_external =
            |name: &String| !built_in.contains(name) && !RESERVED.contains(&name.as_str());
        named.into_iter().map(Name::to_string).filter(is_external).collect()
    }

    /// Returns the services for the configuration.
    pub fn schema(&self) -> Schema {
        let (services, external) = (self.service_names(), self.external_names());
        Schema::of(self.name, services, external, self.short_keys).with_events(self.events())
    }

    /// Returns the names of all events that plans and services name.
    fn events(&self) -> Vec<String> {
        let of_plans = self.stories().flat_map(|story| &story.plans).flat_map(|plan| {
            let emitted = plan.parts().flat_map(|part| part.events()).map(|(event, _)| event);
            emitted.chain(&plan.overdue).map(Name::to_string)
        });
        let services = self.stories().flat_map(|story| &story.services);
        let of_services =
            services.flat_map(|entry| entry.service.tells().chain(entry.service.reacts_to()));
        let all: BTreeSet<String> = of_plans.chain(of_services.map(str::to_owned)).collect();
        all.into_iter().collect()
    }

    /// Returns every problem of the program's servers, by number.
    pub fn all_problems(&self) -> Vec<&'static Entry> {
        sagamore_server::problem::all(&self.problems)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sagamore_core::plan;

    use super::*;
    use crate::config::Settings;

    fn visit() -> Result<Plan, plan::Error> {
        let plan = Plan::named("visit")
            .begins("guest", "ring", "bell.rung")
            .undone_on(["host.away"], "guest.gone")
            .deadline(Duration::from_secs(60))
            .overdue("late.visit");
        plan.pivot("host", "open")
            .on(["bell.rung"])
            .emits(["door.opened"])
            .fails(["host.away"])
            .build()
    }

    #[test]
    fn no_namespace_is_the_first_segment_of_an_event() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = |namespace: &str, program: &Blueprint| {
            let file = directory.path().join("visit.toml");
            std::fs::write(&file, format!("namespace = \"{namespace}\"\n")).expect("written");
            Settings::load(&program.schema(), Some(&file)).map_err(|error| error.to_string())
        };
        let story = || Story::default().plan(visit);
        let first = Blueprint { story: story(), ..Blueprint::named("visit") };
        let second = Blueprint { choreography: Some(story()), ..Blueprint::named("visit") };
        for program in [first, second] {
            for (namespace, event) in
                [("bell", "bell.rung"), ("door", "door.opened"), ("late", "late.visit")]
            {
                let error = check(namespace, &program).expect_err(namespace);
                assert!(error.contains(&format!("the event '{event}' begins with it")), "{error}");
            }
            assert!(check("staging", &program).is_ok());
        }
    }
}

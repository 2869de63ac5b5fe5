//! A builder for plans in Rust.
//!
//! ```
//! use sagamore_core::Plan;
//!
//! let visit = Plan::named("visit")
//!     .begins("guest", "ring", "bell.rung")
//!     .undone_on(["nobody.home"], "guest.gone")
//!     .reaction("host", "open").on(["bell.rung"]).emits(["door.opened"]).fails(["nobody.home"])
//!     .build()
//!     .unwrap();
//!
//! assert_eq!(visit.reactions[0].name.as_str(), "open");
//! ```

use std::marker::PhantomData;
use std::time::Duration;

use crate::id::{Malformed, Name};
use crate::plan::{Error, EventSchemas, Plan, Problem, Reaction, Start, Undo, check};

/// A plan with a name and, so far, without a start.
#[derive(Debug)]
#[must_use = "a plan begins with something: .begins(..)"]
pub struct Named {
    name: String,
    version: u32,
}

/// A plan under construction. Methods apply to the latest `.begins(..)`, `.reaction(..)` or
/// `.pivot(..)`.
#[derive(Debug)]
#[must_use = "a plan is finished with .build()"]
pub struct Builder<Last> {
    name: String,
    version: u32,
    deadline: Option<Duration>,
    overdue: Option<String>,
    /// The start, then the reactions.
    parts: Vec<Written>,
    schemas: EventSchemas,
    last: PhantomData<Last>,
}

/// A part as written. `build` checks its names.
#[derive(Debug, Default)]
struct Written {
    service: String,
    name: String,
    on: Vec<String>,
    emits: Vec<String>,
    fails: Vec<String>,
    undo: Option<(Vec<String>, String)>,
    never_after: Vec<String>,
    pivot: bool,
}

impl Plan {
    /// Starts a plan with this name, in version 1.
    pub fn named(name: &str) -> Named {
        Named { name: name.to_owned(), version: 1 }
    }
}

impl Named {
    /// Sets the version. Every change requires a higher version: the same version with other
    /// contents is rejected.
    pub fn version(self, version: u32) -> Named {
        Named { version, ..self }
    }

    /// Sets the start of each chain: a step of `service` that emits the first event.
    pub fn begins(self, service: &str, name: &str, event: &str) -> Builder<Start> {
        let start = Written { emits: vec![event.to_owned()], ..Written::new(service, name) };
        let (deadline, overdue, last) = (None, None, PhantomData);
        let schemas = EventSchemas::default();
        Builder {
            name: self.name,
            version: self.version,
            deadline,
            overdue,
            parts: vec![start],
            schemas,
            last,
        }
    }
}

impl<Last> Builder<Last> {
    /// Sets how long a chain may take.
    pub fn deadline(self, deadline: Duration) -> Self {
        Builder { deadline: Some(deadline), ..self }
    }

    /// Sets the event that is emitted when a chain is overdue. Only the pivot's service reacts to
    /// it.
    pub fn overdue(self, event: &str) -> Self {
        Builder { overdue: Some(event.to_owned()), ..self }
    }

    /// Sets the JSON Schemas of events.
    pub fn schemas(self, schemas: EventSchemas) -> Self {
        Builder { schemas, ..self }
    }

    /// Sets the events of which any one undoes the part, and the event that the undo emits.
    pub fn undone_on<const N: usize>(mut self, failures: [&str; N], emits: &str) -> Self {
        self.written().undo = Some((owned(failures), emits.to_owned()));
        self
    }

    /// Adds a reaction of a service.
    pub fn reaction(self, service: &str, name: &str) -> Builder<Reaction> {
        self.write(Written::new(service, name))
    }

    /// Adds the pivot: after it has acted, no step of the chain is undone.
    pub fn pivot(self, service: &str, name: &str) -> Builder<Reaction> {
        self.write(Written { pivot: true, ..Written::new(service, name) })
    }

    /// Validates the plan.
    ///
    /// # Errors
    /// Returns every problem of the plan.
    pub fn build(self) -> Result<Plan, Error> {
        let name = self.name.clone();
        let plan = self
            .unchecked()
            .map_err(|malformed| Error { plan: name, problems: vec![malformed.into()] })?;
        let problems: Vec<Problem> = check(&plan);
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(Error { plan: plan.name.to_string(), problems })
        }
    }

    /// Returns the plan without validation.
    ///
    /// # Errors
    /// A name is malformed.
    pub fn unchecked(self) -> Result<Plan, Malformed> {
        let mut parts = self.parts.into_iter().map(Written::lower);
        let start = parts.next().expect("a builder holds a start")?;
        let event = start.emits.into_iter().next().expect("a start emits one event");
        Ok(Plan {
            name: Name::new(&self.name)?,
            version: self.version,
            deadline_ms: self.deadline.map(millis),
            overdue: self.overdue.map(|event| Name::new(&event)).transpose()?,
            begins: Start { name: start.name, service: start.service, event, undo: start.undo },
            reactions: parts.collect::<Result<_, _>>()?,
            schemas: self.schemas,
        })
    }

    fn write(mut self, written: Written) -> Builder<Reaction> {
        self.parts.push(written);
        let Builder { name, version, deadline, overdue, parts, schemas, .. } = self;
        Builder { name, version, deadline, overdue, parts, schemas, last: PhantomData }
    }

    fn written(&mut self) -> &mut Written {
        self.parts.last_mut().expect("a builder holds a start")
    }
}

impl Builder<Reaction> {
    /// Sets the events that must all have arrived.
    pub fn on<const N: usize>(mut self, events: [&str; N]) -> Self {
        self.written().on = owned(events);
        self
    }

    /// Sets the success events, of which the reaction emits one.
    pub fn emits<const N: usize>(mut self, events: [&str; N]) -> Self {
        self.written().emits = owned(events);
        self
    }

    /// Sets the failure events, of which a refused reaction emits one.
    pub fn fails<const N: usize>(mut self, events: [&str; N]) -> Self {
        self.written().fails = owned(events);
        self
    }

    /// Sets the events after any of which the reaction never runs, unless it already has.
    pub fn never_after<const N: usize>(mut self, events: [&str; N]) -> Self {
        self.written().never_after = owned(events);
        self
    }
}

impl Written {
    fn new(service: &str, name: &str) -> Written {
        Written { service: service.to_owned(), name: name.to_owned(), ..Written::default() }
    }

    fn lower(self) -> Result<Reaction, Malformed> {
        let undo = |(on, emits): (Vec<String>, String)| {
            Ok(Undo { on: names(&on)?, emits: Name::new(&emits)? })
        };
        Ok(Reaction {
            name: Name::new(&self.name)?,
            service: Name::new(&self.service)?,
            on: names(&self.on)?,
            emits: names(&self.emits)?,
            fails: names(&self.fails)?,
            undo: self.undo.map(undo).transpose()?,
            never_after: names(&self.never_after)?,
            pivot: self.pivot,
        })
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn names(texts: &[String]) -> Result<Vec<Name>, Malformed> {
    texts.iter().map(|text| Name::new(text)).collect()
}

fn owned<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

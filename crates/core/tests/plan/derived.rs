//! Plans that are derived from the declarations of services.

use std::time::Duration;

use sagamore_core::plan::{Declared, Plan, Problem, ReactionSource, Undo};
use sagamore_core::{Name, plan};

/// A service that consists of its declarations.
struct Declaring {
    service: Name,
    reactions: Vec<Declared>,
}

impl ReactionSource for Declaring {
    fn service(&self) -> &Name {
        &self.service
    }

    fn reactions(&self) -> Vec<Declared> {
        self.reactions.clone()
    }
}

fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().copied().map(name).collect()
}

fn service(service: &str, reactions: Vec<Declared>) -> Declaring {
    Declaring { service: name(service), reactions }
}

fn reacts(reaction: &str, on: &[&str], emits: &str) -> Declared {
    Declared {
        reaction: name(reaction),
        on: names(on),
        emits: names(&[emits]),
        fails: Vec::new(),
        undo: None,
        never_after: Vec::new(),
        overdue: None,
        pivot: false,
    }
}

fn undone(on: &[&str], emits: &str) -> Option<Undo> {
    Some(Undo { on: names(on), emits: name(emits) })
}

/// Returns a plan's services: a seat, a card and a ticket, not in causal order.
fn trip() -> [Declaring; 3] {
    let issue = Declared {
        never_after: names(&["card.declined"]),
        ..reacts("issue", &["card.charged"], "ticket.issued")
    };
    let reserve = Declared {
        undo: undone(&["card.declined"], "seat.released"),
        ..reacts("reserve", &[], "seat.reserved")
    };
    let charge = Declared {
        fails: names(&["card.declined"]),
        pivot: true,
        ..reacts("charge", &["seat.reserved"], "card.charged")
    };
    [
        service("tickets", vec![issue]),
        service("seats", vec![reserve]),
        service("bank", vec![charge]),
    ]
}

fn problem(services: &[Declaring]) -> Problem {
    let mut error = Plan::from_services("trip", services).build().expect_err("no plan");
    assert_eq!(error.problems.len(), 1, "{error}");
    error.problems.remove(0)
}

#[test]
fn a_derived_plan_equals_the_built_one() {
    let written = Plan::named("trip")
        .version(2)
        .begins("seats", "reserve", "seat.reserved")
        .undone_on(["card.declined"], "seat.released")
        .pivot("bank", "charge")
        .on(["seat.reserved"])
        .emits(["card.charged"])
        .fails(["card.declined"])
        .reaction("tickets", "issue")
        .on(["card.charged"])
        .emits(["ticket.issued"])
        .never_after(["card.declined"])
        .deadline(Duration::from_secs(60))
        .build()
        .expect("a plan");
    let derived =
        Plan::from_services("trip", &trip()).version(2).deadline(Duration::from_secs(60)).build();
    assert_eq!(derived.expect("a plan"), written);
    for service in &trip() {
        assert_eq!(plan::declared(&written, service.service(), &service.reactions()), []);
    }
}

#[test]
fn a_reaction_that_gives_up_overdue_chains_is_the_pivot() {
    let [tickets, seats, mut bank] = trip();
    bank.reactions[0].pivot = false;
    bank.reactions[0].overdue = Some(name("trip.overdue"));
    let derived = Plan::from_services("trip", &[tickets, seats, bank])
        .deadline(Duration::from_secs(60))
        .build();
    let plan = derived.expect("a plan");
    assert_eq!(plan.pivot().map(|pivot| pivot.name.as_str()), Some("charge"));
    assert_eq!(plan.overdue, Some(name("trip.overdue")));
}

#[test]
fn a_plan_has_exactly_one_start() {
    let [tickets, seats, bank] = trip();
    assert_eq!(problem(&[tickets, bank]), Problem::NoStart);
    let other = service("hotels", vec![reacts("book", &[], "room.booked")]);
    let told = problem(&[seats, other]).to_string();
    assert_eq!(
        told,
        "'reserve' of seats and 'book' of hotels both start chains: derive one plan for each"
    );
}

#[test]
fn a_derived_plan_is_checked_like_any_other() {
    let [tickets, seats, _] = trip();
    let error =
        Plan::from_services("trip", &[tickets, seats]).build().expect_err("the bank is missing");
    assert!(
        error.to_string().contains("waits for 'card.charged', but no reaction emits it"),
        "{error}"
    );
}

#[test]
fn a_declared_pivot_must_be_the_pivot_of_the_plan() {
    let [tickets, seats, bank] = trip();
    let mut plan = Plan::from_services(
        "trip",
        &[tickets, seats, trip().into_iter().next_back().expect("bank")],
    )
    .build()
    .expect("a plan");
    plan.reactions[0].pivot = false;
    let differences = plan::declared(&plan, &bank.service, &bank.reactions);
    assert_eq!(
        differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["the service declares 'charge' of bank as the pivot, and plan 'trip' does not: make it \
             the pivot in both"]
    );
}

//! The differences between two versions of a plan.

use std::collections::BTreeSet;

use sagamore_core::Name;
use sagamore_core::plan::{Part, Plan, Undo};

use super::found::Difference;
use super::found::{Found, schema_changes};

/// Returns every difference. A change of an event's schema may be incompatible.
pub fn of_plans(old: &Plan, new: &Plan) -> Vec<Difference> {
    let mut found = Found::default();
    if old.hash() == new.hash() {
        return found.0;
    }
    let ms = |deadline: Option<u64>| deadline.map(|ms| format!("{ms} ms"));
    found.value("the name is", &old.name, &new.name);
    found.option("a chain's deadline is", "none", ms(old.deadline_ms), ms(new.deadline_ms));
    let overdue = "the event of an overdue chain is";
    found.option(overdue, "none", old.overdue.as_ref(), new.overdue.as_ref());
    found.value("chains begin with", &old.begins.name, &new.begins.name);
    for part in old.parts().filter(|part| find(new, part.name).is_none()) {
        found.say(format!("'{}' of {} is removed", part.name, part.service));
    }
    for part in new.parts() {
        match find(old, part.name) {
            Some(before) => parts(&mut found, &before, &part),
            None => found.say(format!("'{}' of {} is added", part.name, part.service)),
        }
    }
    let names = |plan: &Plan, other: &Plan| -> Vec<Name> {
        let common = plan.parts().filter(|part| find(other, part.name).is_some());
        common.map(|part| part.name.clone()).collect()
    };
    if names(old, new) != names(new, old) {
        found.say("the reactions are written in another order");
    }
    let (before, after) = (&old.schemas.events, &new.schemas.events);
    let events: BTreeSet<&Name> = before.keys().chain(after.keys()).collect();
    for event in events {
        let (what, old, new) = (format!("event '{event}'"), before.get(event), after.get(event));
        found.0.extend(schema_changes(&what, old, new));
    }
    found.0
}

fn find<'a>(plan: &'a Plan, name: &Name) -> Option<Part<'a>> {
    plan.parts().find(|part| part.name == name)
}

fn parts(found: &mut Found, old: &Part, new: &Part) {
    let name = format!("'{}' of {}", new.name, new.service);
    found.value(&format!("'{}' belongs to", new.name), old.service, new.service);
    found.set(&name, "awaited event", old.on, new.on);
    found.set(&name, "success", old.emits, new.emits);
    found.set(&name, "failure", old.fails, new.fails);
    found.set(&name, "event after which it never runs", old.never_after, new.never_after);
    found.set(&format!("the undo of {name}"), "event", old.undone_on(), new.undone_on());
    let emits = |undo: Option<&Undo>| undo.map(|undo| undo.emits.clone());
    let undo = format!("the undo of {name} emits");
    found.option(&undo, "nothing", emits(old.undo), emits(new.undo));
    if old.pivot != new.pivot {
        let is = if new.pivot { "becomes" } else { "is no longer" };
        found.say(format!("{name} {is} the pivot"));
    }
    // the hash covers the order of these
    for (what, old, new) in
        [("successes", old.emits, new.emits), ("failures", old.fails, new.fails)]
    {
        let same = old.len() == new.len() && old.iter().all(|event| new.contains(event));
        if same && old != new {
            found.say(format!("{name} lists its {what} in another order"));
        }
    }
}

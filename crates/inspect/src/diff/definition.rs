//! The differences between two versions of a definition.

use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::Name;
use sagamore_core::definition::{
    CommandTemplate, Definition, Draft, Kind, ParticipantContract, Step,
};

use super::found::{Difference, Found, joined, schema_changes};

/// Returns every difference, in the order of the new definition. Equal contents have none.
pub fn of_definitions(old: &Definition, new: &Definition) -> Vec<Difference> {
    let mut found = Found::default();
    if old.hash() == new.hash() {
        return found.0;
    }
    whole(&mut found, old, new);
    for step in &old.steps {
        if new.index_of(&step.name).is_none() {
            found.say(format!("step '{}' is removed", step.name));
        }
    }
    for step in &new.steps {
        match old.index_of(&step.name) {
            Some(index) => steps(&mut found, &old.steps[index], step),
            None => added(&mut found, step),
        }
    }
    written_order(&mut found, old, new);
    contracts(&mut found, old, new);
    messages(&mut found, old, new);
    schemas(&mut found, old, new);
    found.0
}

/// Compares everything outside of the steps.
fn whole(found: &mut Found, old: &Draft, new: &Draft) {
    let ms = |deadline: Option<u64>| deadline.map(|ms| format!("{ms} ms"));
    found.option("the name is", "", Some(&old.name), Some(&new.name));
    found.option("the saga's deadline is", "none", ms(old.deadline_ms), ms(new.deadline_ms));
    let quoted = |key: &Option<String>| key.as_ref().map(|key| format!("the field '{key}'"));
    found.option("the business key is", "in no field", quoted(&old.key), quoted(&new.key));
    found.set("the input", "field", &old.input, &new.input);
}

fn added(found: &mut Found, step: &Step) {
    let Step { name, kind, action: CommandTemplate { participant, message, .. }, .. } = step;
    let after = joined(step.after.iter().flatten(), "the start");
    let what = described(*kind);
    found.say(format!(
        "step '{name}' is added after {after}: {what}, sends '{message}' to {participant}"
    ));
}

/// Compares two versions of a step.
fn steps(found: &mut Found, old: &Step, new: &Step) {
    let name = &new.name;
    let after = |step: &Step| {
        let names: BTreeSet<&Name> = step.after.iter().flatten().collect();
        joined(names, "the start")
    };
    found.value(&format!("step '{name}' comes after"), &after(old), &after(new));
    found.value(&format!("step '{name}' is"), &described(old.kind), &described(new.kind));
    command(found, &format!("step '{name}'"), &old.action, &new.action);
    let undo = format!("the compensation of '{name}'");
    match (&old.compensation, &new.compensation) {
        (Some(old), Some(new)) => command(found, &undo, old, new),
        (Some(_), None) => found.say(format!("{undo} is removed")),
        (None, Some(new)) => found.say(format!("{undo} is added: sends '{}'", new.message)),
        (None, None) => {}
    }
    for field in new.yields.iter().filter(|field| !old.yields.contains(field)) {
        let participant = &new.action.participant;
        found.say(format!(
            "step '{name}' yields the new field '{field}': {participant} must return it first"
        ));
    }
    for field in old.yields.iter().filter(|field| !new.yields.contains(field)) {
        found.say(format!("step '{name}' no longer yields the field '{field}'"));
    }
    patience(found, old, new);
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Compensatable => "compensatable",
        Kind::Pivot => "the pivot",
        Kind::Retriable => "retriable",
    }
}

/// Compares participant, message and references of two commands.
fn command(found: &mut Found, what: &str, old: &CommandTemplate, new: &CommandTemplate) {
    found.value(&format!("{what} sends to"), &old.participant, &new.participant);
    found.value(&format!("{what} sends"), &quoted(&old.message), &quoted(&new.message));
    let message = &new.message;
    for (field, reference) in &new.fields {
        match old.fields.get(field) {
            None => found.say(format!("{what} fills '{field}' of '{message}' from {reference}")),
            Some(before) if before != reference => found.say(format!(
                "{what} fills '{field}' of '{message}' from {reference}, was {before}"
            )),
            Some(_) => {}
        }
    }
    for field in old.fields.keys().filter(|field| !new.fields.contains_key(*field)) {
        found.say(format!("{what} no longer sends '{field}' in '{message}'"));
    }
}

fn quoted(name: &Name) -> String {
    format!("'{name}'")
}

fn patience(found: &mut Found, old: &Step, new: &Step) {
    let (name, old, new) = (&new.name, &old.patience, &new.patience);
    let ms = |ms: u64| format!("{ms} ms");
    let what = |what: &str| format!("step '{name}' {what}");
    found.value(&what("waits for a reply for"), &ms(old.timeout_ms), &ms(new.timeout_ms));
    let attempts = |most: Option<u32>| most.map(|most| most.to_string());
    let (before, after) = (attempts(old.attempts_max), attempts(new.attempts_max));
    found.option(&what("has a limit of attempts of"), "none", before, after);
    let (min, max) = ("pauses before a resend for at least", "pauses before a resend for at most");
    found.value(&what(min), &ms(old.backoff_ms_min), &ms(new.backoff_ms_min));
    found.value(&what(max), &ms(old.backoff_ms_max), &ms(new.backoff_ms_max));
}

/// Reports steps that are the same and written in another order: the hash covers that order.
fn written_order(found: &mut Found, old: &Draft, new: &Draft) {
    fn common<'a>(of: &'a Draft, other: &Draft) -> Vec<&'a Name> {
        let has = |name: &Name| other.steps.iter().any(|step| step.name == *name);
        of.steps.iter().map(|step| &step.name).filter(|name| has(name)).collect()
    }
    let (before, after) = (common(old, new), common(new, old));
    if before != after {
        let names: Vec<&str> = after.iter().map(|name| name.as_str()).collect();
        found.say(format!("the steps are written in another order: {}", names.join(", ")));
    }
}

/// Compares what the definition demands of its participants.
fn contracts(found: &mut Found, old: &Draft, new: &Draft) {
    let names: BTreeSet<&Name> = old.participants.keys().chain(new.participants.keys()).collect();
    for name in names {
        let (old, new) = (old.contract(name), new.contract(name));
        let what = format!("participant '{name}'");
        found.value(&format!("{what} repeats commands as"), &old.repeat, &new.repeat);
        let query = |of: &ParticipantContract| of.query.as_ref().map(quoted);
        found.option(&format!("{what} is queried by"), "nothing", query(old), query(new));
        let statuses: BTreeSet<&u16> = old.refusals.keys().chain(new.refusals.keys()).collect();
        for status in statuses {
            let code = |of: &ParticipantContract| of.refusals.get(status).map(quoted);
            let means = format!("{what} means by status {status}");
            found.option(&means, "an unknown outcome", code(old), code(new));
        }
    }
}

/// Compares the fields of the messages that both versions send. A message with a schema in both is
/// compared by its schemas.
fn messages(found: &mut Found, old: &Draft, new: &Draft) {
    let (before, after) = (fields(old), fields(new));
    for (message, was) in &before {
        let Some(is) = after.get(message) else { continue };
        let both = [old, new].iter().all(|of| of.schemas.messages.contains_key(*message));
        for field in was.difference(is).filter(|_| !both) {
            found.0.push(Difference::incompatible(format!(
                "message '{message}' loses the field '{field}', which its participant may require"
            )));
        }
        for field in is.difference(was).filter(|_| !both) {
            found.say(format!(
                "message '{message}' gains the field '{field}': it must be optional, because sagas \
                 of the old version do not send it"
            ));
        }
    }
}

/// Returns the fields of each message, in any of the commands that send it.
fn fields(draft: &Draft) -> BTreeMap<&Name, BTreeSet<&String>> {
    let mut fields: BTreeMap<&Name, BTreeSet<&String>> = BTreeMap::new();
    let commands = draft
        .steps
        .iter()
        .flat_map(|step| std::iter::once(&step.action).chain(step.compensation.as_ref()));
    for command in commands {
        fields.entry(&command.message).or_default().extend(command.fields.keys());
    }
    fields
}

/// Compares the schemas of input, messages and outputs.
fn schemas(found: &mut Found, old: &Draft, new: &Draft) {
    let (before, after) = (&old.schemas, &new.schemas);
    // callers of a start are no participants: each start names a version, or takes the active one
    let input = schema_changes("the input", before.input.as_ref(), after.input.as_ref());
    found.0.extend(input.into_iter().map(|one| Difference { incompatible: false, ..one }));
    for (what, old, new) in [
        ("message", &before.messages, &after.messages),
        ("the output of", &before.outputs, &after.outputs),
    ] {
        let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
        for name in names {
            found.0.extend(schema_changes(
                &format!("{what} '{name}'"),
                old.get(name),
                new.get(name),
            ));
        }
    }
}

//! The stored form of journals. Stores hold entries of older programs, so the form never changes.
//! Older programs also read new entries during a rolling upgrade, so nothing is added either.

use sagamore_core::journal::{Change, Entry};
use sagamore_core::saga::StorageFault;
use sagamore_core::{Allowed, Saga, Timestamp};

use crate::support::{begin, trip};

/// One change of every variant, with and without its optional fields.
const CHANGES: &str = include_str!("stored/changes.jsonl");
/// A trip that is undone after faults, a missed reply and rescues. Below each entry, indented, is
/// the state after it.
const UNDONE: &str = include_str!("stored/undone.txt");
/// A trip that completes after a retried refusal, in the same format.
const COMPLETED: &str = include_str!("stored/completed.txt");

#[test]
fn every_change_is_read_and_written_in_its_stored_form() {
    for stored in CHANGES.lines() {
        let change: Change = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&change).unwrap(), stored);
        let name = stored.trim_start_matches(['{', '"']).split('"').next();
        assert_eq!(Some(change.as_str()), name, "{stored}");
        let names_a_step = stored.contains(r#":{"step":"flight""#);
        assert_eq!(change.step().map(|step| step.as_str()), names_a_step.then_some("flight"));
    }
    assert_eq!(CHANGES.lines().count(), 25);
}

#[test]
fn an_entry_is_read_and_written_in_its_stored_form() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let changes = r#"[{"undone":{"step":"flight"}},"compensated"]"#;
    for stored in [
        format!(r#"{{"revision":2,"at":1700000000000,"changes":{changes}}}"#),
        format!(r#"{{"revision":2,"at":1700000000000,"changes":{changes},"trace":"{trace}"}}"#),
    ] {
        let entry: Entry = serde_json::from_str(&stored).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), stored);
    }
}

#[test]
fn a_storage_fault_is_read_and_written_in_its_stored_form() {
    let stored = r#"{"text":"locked","count":3,"since":1700000000000}"#;
    let fault: StorageFault = serde_json::from_str(stored).unwrap();
    assert_eq!(serde_json::to_string(&fault).unwrap(), stored);
}

#[test]
fn a_stored_journal_folds_to_the_same_states() {
    for journal in [UNDONE, COMPLETED] {
        let mut saga = begin(trip());
        let mut found = String::new();
        for stored in journal.lines().filter(|line| line.starts_with('{')) {
            let entry: Entry = serde_json::from_str(stored).unwrap();
            assert_eq!(serde_json::to_string(&entry).unwrap(), stored);
            saga.advance(&entry).unwrap();
            found += &format!("{stored}\n{}", described(&saga));
        }
        assert_eq!(found, journal);
    }
}

/// Describes a saga that was read from its journal, as an orchestrator and an operator see it.
fn described(saga: &Saga) -> String {
    let ms = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.0.to_string());
    let mut text = format!(
        "    {}, next due {}, waiting since {}\n",
        saga.status.as_str(),
        ms(saga.next_due()),
        ms(saga.waiting_since()),
    );
    let outstanding = saga.outstanding();
    for (index, step) in saga.steps.iter().enumerate().filter(|(_, step)| step.attempts > 0) {
        let plan = &saga.definition.steps[index];
        let (actions, undos) = (step.generation, step.undo_generation);
        text += &format!("    {} {}", plan.name, step.status.as_str());
        text += &format!(", generations {actions} and {undos}, attempt {}", step.attempts);
        for (_, direction) in outstanding.iter().filter(|(step, _)| *step == index) {
            let expires_at = saga.command(index, *direction).expires_at;
            text += &format!(", {direction} outstanding, expires {}", ms(expires_at));
        }
        let output = step.output.as_ref().map(|output| format!(", {}", output.as_str()));
        let refusal = step.refusal.as_ref().map(|refusal| format!(", refused {}", refusal.code));
        let fault = saga.open_fault(index).map(|fault| {
            let shown = ms(fault.shown_from);
            format!(", {} fault(s) since {}, shown {shown}", fault.count, fault.since.0)
        });
        [output, refusal, fault].into_iter().flatten().for_each(|part| text += &part);
        text += "\n";
    }
    let allowed = saga.allowed_actions(Timestamp(saga.changed_at.0 + 60_000));
    let allowed = allowed.into_iter().map(|allowed| match allowed {
        Allowed::Cancel => "cancel".to_owned(),
        Allowed::Rescue { step, verb } => format!("{} {step}", verb.as_str()),
    });
    text + &format!("    allowed: {}\n", allowed.collect::<Vec<_>>().join(", "))
}

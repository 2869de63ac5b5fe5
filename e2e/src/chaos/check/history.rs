//! Checks all journals: no gap, no fork, undos in reverse order, one end.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Ledger;
use super::Site;

/// Sagas per page.
const PAGE: i64 = 2_000;
/// The compensatable steps of the checkout in order, and the pivot.
const STEPS: [&str; 4] = ["create-order", "charge-payment", "reserve-stock", "schedule-shipment"];

/// Checks every journal, page by page.
pub fn check(site: &Site, ledger: &Ledger) -> Result<()> {
    let (saga, journal) = (site.table("engine", "saga"), site.table("engine", "journal"));
    let mut after = 0;
    loop {
        let rows = site.sql(&format!(
            "SELECT json_build_array(s.seq, s.id, s.status, s.revision, json_agg(j.entry::json \
             ORDER BY j.revision))
             FROM (SELECT * FROM {saga} WHERE seq > {after} ORDER BY seq LIMIT {PAGE}) s JOIN \
             {journal} j USING (seq)
             GROUP BY s.seq, s.id, s.status, s.revision ORDER BY s.seq"
        ))?;
        if rows.is_empty() {
            return Ok(());
        }
        for line in rows.lines() {
            let row: Value =
                serde_json::from_str(line).with_context(|| format!("read the journal {line}"))?;
            after = row[0].as_i64().context("a saga has a number")?;
            let id = row[1].as_str().unwrap_or_default();
            let entries = row[4].as_array().context("a journal has entries")?;
            for offence in
                offences(row[2].as_str().unwrap_or_default(), row[3].as_u64().unwrap_or(0), entries)
            {
                ledger.violate(format!("{offence} of {id}"));
            }
            ledger.count("journals checked");
        }
    }
}

/// Returns all violations in one journal.
fn offences(status: &str, revision: u64, entries: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let revisions: Vec<u64> =
        entries.iter().filter_map(|entry| entry["revision"].as_u64()).collect();
    if revisions.first() != Some(&1) || revisions.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        found.push(format!("history-gap: revisions {revisions:?}"));
    }
    if revisions.last() != Some(&revision) {
        found.push(format!(
            "history-gap: the row has revision {revision}, but the journal ends with {:?}",
            revisions.last()
        ));
    }
    let changes: Vec<&Value> =
        entries.iter().filter_map(|entry| entry["changes"].as_array()).flatten().collect();
    let mut undone = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes {
        let (kind, step) = named(change);
        *seen.entry(kind).or_default() += 1;
        let position = STEPS.iter().position(|name| *name == step);
        if kind == "undone" {
            if undone.last().is_some_and(|last| *last < position) {
                found.push(format!("wrong-undo-order: {step} after a step before it"));
            }
            undone.push(position);
            if seen.contains_key("pivot done") {
                found.push(format!("undo-after-pivot: {step}"));
            }
        }
        if kind == "done" && step == STEPS[3] {
            seen.insert("pivot done", 1);
        }
    }
    let ends = ["completed", "compensated"].map(|end| seen.get(end).copied().unwrap_or(0));
    let expected = match status {
        "completed" => [1, 0],
        "compensated" => [0, 1],
        _ => [0, 0],
    };
    if ends != expected {
        found.push(format!(
            "split-outcome: {ends:?} ends (completed, compensated) of a saga that is {status}"
        ));
    }
    found
}

/// Returns a change's kind and step. Examples: `"stuck"`, `{"done": {"step": ..}}`.
fn named(change: &Value) -> (&str, &str) {
    match change {
        Value::String(kind) => (kind, ""),
        Value::Object(fields) => fields.iter().next().map_or(("", ""), |(kind, about)| {
            (kind.as_str(), about["step"].as_str().unwrap_or_default())
        }),
        _ => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a journal from lines of `revision kind step`, one entry each.
    fn check(status: &str, revision: u64, lines: &[&str]) -> Vec<String> {
        let entry = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let change = match words.as_slice() {
                [_, kind] => serde_json::json!(kind),
                [_, kind, step] => serde_json::json!({ *kind: { "step": step } }),
                _ => panic!("{line}"),
            };
            let revision: u64 = words[0].parse().expect("a revision");
            serde_json::json!({ "revision": revision, "changes": [change] })
        };
        offences(status, revision, &lines.iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn a_valid_journal_has_no_violations() {
        let good = [
            "1 started",
            "2 done create-order",
            "3 done charge-payment",
            "4 undone charge-payment",
            "5 undone create-order",
            "6 compensated",
        ];
        assert_eq!(check("compensated", 6, &good), [] as [&str; 0]);
    }

    #[test]
    fn gaps_forks_wrong_orders_and_double_ends_are_found() {
        let cases: &[(&str, u64, &[&str], &str)] = &[
            ("running", 3, &["1 started", "3 done create-order"], "history-gap"),
            ("running", 2, &["1 started"], "history-gap"),
            ("running", 2, &["2 started"], "history-gap"),
            (
                "compensated",
                4,
                &["1 started", "2 undone create-order", "3 undone charge-payment", "4 compensated"],
                "wrong-undo-order",
            ),
            (
                "compensated",
                4,
                &[
                    "1 started",
                    "2 done schedule-shipment",
                    "3 undone create-order",
                    "4 compensated",
                ],
                "undo-after-pivot",
            ),
            ("completed", 3, &["1 started", "2 compensated", "3 completed"], "split-outcome"),
            ("completed", 1, &["1 started"], "split-outcome"),
        ];
        for (status, revision, lines, expected) in cases {
            let found = check(status, *revision, lines);
            assert!(
                found.iter().any(|offence| offence.starts_with(expected)),
                "{lines:?}: {found:?}"
            );
        }
    }
}

//! Services that execute a plan, implemented independently of the plan's own code. Every event
//! reaches every part that reacts to it, in any order, sometimes repeatedly.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sagamore_core::plan::{Part, Seen};
use sagamore_core::{Name, Plan, Timestamp};

pub const STARTED_AT: Timestamp = Timestamp(1_000_000);

/// A barrier's row of one reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Done,
    Refused,
    Tombstone,
}

/// The outcome of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Compensated,
    /// Parts that stayed done although another part failed.
    Half(BTreeSet<Name>),
}

/// An event in flight to a reaction or its undo.
#[derive(Clone)]
struct Mail {
    part: usize,
    undo: bool,
    seen: Seen,
}

pub struct Run<'a> {
    parts: Vec<Part<'a>>,
    plan: &'a Plan,
    rng: fastrand::Rng,
    rows: BTreeMap<usize, Row>,
    parked: BTreeMap<usize, BTreeSet<Name>>,
    undone: BTreeSet<usize>,
    mails: Vec<Mail>,
    told: Vec<Seen>,
}

impl<'a> Run<'a> {
    /// Executes the plan to its end. With `overdue`, the deadline passes at a random moment.
    pub fn to_the_end(plan: &'a Plan, seed: u64, overdue: bool) -> (Vec<Seen>, Outcome) {
        let mut run = Run {
            parts: plan.parts().collect(),
            plan,
            rng: fastrand::Rng::with_seed(seed),
            rows: BTreeMap::new(),
            parked: BTreeMap::new(),
            undone: BTreeSet::new(),
            mails: Vec::new(),
            told: Vec::new(),
        };
        run.act(0, None);
        let mut passes = overdue.then(|| run.rng.usize(0..12));
        while !run.mails.is_empty() {
            if passes == Some(0) {
                run.pass();
            }
            passes = passes.and_then(|rest| rest.checked_sub(1));
            let next = run.rng.usize(0..run.mails.len());
            let again = run.rng.u8(0..4) == 0;
            let mail = if again { run.mails[next].clone() } else { run.mails.swap_remove(next) };
            run.deliver(&mail);
        }
        let outcome = run.outcome();
        (run.told, outcome)
    }

    fn deliver(&mut self, mail: &Mail) {
        let part = self.parts[mail.part];
        if self.plan.overdue.as_ref() == Some(&mail.seen.name) {
            if let Entry::Vacant(row) = self.rows.entry(mail.part) {
                row.insert(Row::Tombstone);
                self.tell(mail.part, &part.fails[0], Some(&mail.seen));
            }
        } else if mail.undo {
            self.rows.entry(mail.part).or_insert(Row::Tombstone);
            if self.undone.insert(mail.part) {
                self.tell(mail.part, &part.undo.unwrap().emits, Some(&mail.seen));
            }
        } else {
            let parked = self.parked.entry(mail.part).or_default();
            parked.insert(mail.seen.name.clone());
            if part.on.iter().all(|event| parked.contains(event))
                && !self.rows.contains_key(&mail.part)
            {
                self.act(mail.part, Some(&mail.seen));
            }
        }
    }

    fn act(&mut self, index: usize, cause: Option<&Seen>) {
        let part = self.parts[index];
        let fails = !part.fails.is_empty() && self.rng.u8(0..4) == 0;
        self.rows.insert(index, if fails { Row::Refused } else { Row::Done });
        let events = if fails { part.fails } else { part.emits };
        let event = self.rng.choice(events).cloned();
        event.iter().for_each(|event| self.tell(index, event, cause));
    }

    fn pass(&mut self) {
        let (overdue, pivot) =
            (self.plan.overdue.clone(), self.parts.iter().position(|part| part.pivot));
        if let Some((name, part)) = overdue.zip(pivot) {
            let seen = Seen {
                id: "deadline".into(),
                name,
                causation: None,
                hop: 0,
                at: self.now(),
                seen_at: self.now(),
            };
            self.told.push(seen.clone());
            self.mails.push(Mail { part, undo: false, seen });
        }
    }

    fn tell(&mut self, by: usize, event: &Name, cause: Option<&Seen>) {
        let seen = Seen {
            id: format!("{}:1/{}/{event}", self.plan.name, self.parts[by].name),
            name: event.clone(),
            causation: cause.map(|cause| cause.id.clone()),
            hop: cause.map_or(0, |cause| cause.hop + 1),
            at: self.now(),
            seen_at: self.now(),
        };
        for (part, to) in self.parts.iter().enumerate() {
            let to_both = [(false, to.on), (true, to.undone_on())]
                .into_iter()
                .filter(|(_, on)| on.contains(event));
            self.mails.extend(to_both.map(|(undo, _)| Mail { part, undo, seen: seen.clone() }));
        }
        self.told.push(seen);
    }

    fn now(&self) -> Timestamp {
        Timestamp(STARTED_AT.0 + 10 * self.told.len() as i64)
    }

    fn outcome(&self) -> Outcome {
        let failed = self.rows.values().any(|row| *row != Row::Done);
        let done = self
            .rows
            .iter()
            .filter(|(part, row)| **row == Row::Done && !self.undone.contains(part));
        let stays: BTreeSet<Name> = done.map(|(part, _)| self.parts[*part].name.clone()).collect();
        match (failed || !self.undone.is_empty(), stays.is_empty()) {
            (false, _) => Outcome::Completed,
            (true, true) => Outcome::Compensated,
            (true, false) => Outcome::Half(stays),
        }
    }
}

//! Where what a service's barrier says and what a saga says cannot both be true.

use std::collections::BTreeMap;

use sagamore_core::Direction;
use sagamore_core::saga::StepStatus;
use sagamore_engine::ChainStatus;
use serde::Serialize;

use crate::view::{ChangeView, FactView, Line, SagaView, StepView, Style};

/// How a step stands by the barrier of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It was done, and is.
    Done,
    /// It was done, and undone.
    Undone,
    /// It was refused, or its compensation came first.
    Nothing,
}

/// Service and step -> how it stands.
pub type Stands = BTreeMap<(String, String), Stand>;

/// Something that cannot be true on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inconsistency {
    /// The saga.
    pub saga: String,
    /// Whose barrier.
    pub service: String,
    /// Which step.
    pub step: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: &'static str,
}

const UNDO: &str = "undo it by hand at that service";
const LOST: &str = "was a backup restored there? do it by hand, or restore what is younger";
const AGAIN: &str =
    "have the events of its chain told again: --resend; else undo it by hand at that service";

/// What the rows of one step come to.
pub fn stand<'a>(rows: impl IntoIterator<Item = &'a FactView>) -> Stand {
    let (mut done, mut undone) = (false, false);
    for row in rows.into_iter().filter(|row| row.status == "done") {
        match row.direction {
            Direction::Action => done = true,
            Direction::Compensation => undone = true,
        }
    }
    match (done, undone) {
        (true, false) => Stand::Done,
        (true, true) => Stand::Undone,
        (false, _) => Stand::Nothing,
    }
}

/// Whether a closer look is wanted. `whole`: the steps of a saga of this definition that completed, as another one had them;
/// none while none is known.
pub fn is_suspicious(line: Option<&Line>, stands: &Stands, whole: Option<&Stands>) -> bool {
    match line.map(|line| line.status) {
        None => stands.values().any(|stand| *stand == Stand::Done),
        Some(ChainStatus::Completed) => whole != Some(stands),
        Some(ChainStatus::Compensated) => stands.values().any(|stand| *stand == Stand::Done),
        Some(_) => false,
    }
}

/// What a saga says that has ended well, in the words of these services' barriers.
pub fn whole(saga: &SagaView, services: &[&str]) -> Stands {
    let asked = saga.steps.iter().filter(|step| services.contains(&step.participant.as_str()));
    let done = asked.filter(|step| step.status == StepStatus::Done);
    done.map(|step| ((step.participant.clone(), step.name.clone()), Stand::Done)).collect()
}

/// Compares a saga that has ended with the barriers of these services.
pub fn compare(saga: &SagaView, stands: &Stands, services: &[&str]) -> Vec<Inconsistency> {
    if !matches!(saga.line.status, ChainStatus::Completed | ChainStatus::Compensated) {
        return Vec::new();
    }
    let asked = saga
        .steps
        .iter()
        .filter(|step| services.contains(&step.participant.as_str()) && !by_hand(saga, step));
    let found = asked.filter_map(|step| {
        let stand = stands.get(&(step.participant.clone(), step.name.clone()));
        let (what, mend) = match (step.status, stand) {
            (StepStatus::Done, None) => {
                ("the saga says it was done, and the service knows nothing of it", LOST)
            }
            (StepStatus::Done, Some(Stand::Undone)) => {
                ("the saga says it is done, and the service has undone it", LOST)
            }
            (StepStatus::Done, Some(Stand::Nothing)) => {
                ("the saga says it was done, and the service never did it", LOST)
            }
            (StepStatus::Done, Some(Stand::Done)) => return None,
            (_, Some(Stand::Done)) if saga.line.style == Style::Choreography => {
                ("it was done, and never undone; the chain is over", AGAIN)
            }
            (_, Some(Stand::Done)) => ("it was done, and never undone; the saga is over", UNDO),
            (_, Some(Stand::Undone | Stand::Nothing) | None) => return None,
        };
        let (saga, service, step) =
            (saga.line.id.clone(), step.participant.clone(), step.name.clone());
        Some(Inconsistency { saga, service, step, what: what.to_owned(), mend })
    });
    found.collect()
}

/// What services did for a saga of which nobody knows. `plans`: a chain of one of them would be told by events.
pub fn unknown(id: &str, stands: &Stands, plans: &[String]) -> Vec<Inconsistency> {
    let (what, mend) = match is_chain(id, plans) {
        true => ("it was done, and no event of its chain was ever seen", AGAIN),
        false => ("it was done, and no such saga is known", UNDO),
    };
    let done = stands.iter().filter(|(_, stand)| **stand == Stand::Done);
    done.map(|((service, step), _)| Inconsistency {
        saga: id.to_owned(),
        service: service.clone(),
        step: step.clone(),
        what: what.to_owned(),
        mend,
    })
    .collect()
}

/// Whether it is a chain of one of these plans.
pub fn is_chain(id: &str, plans: &[String]) -> bool {
    id.split_once(':').is_some_and(|(name, _)| plans.iter().any(|plan| plan == name))
}

/// Whether a person has decided about the step: then only that person knows.
fn by_hand(saga: &SagaView, step: &StepView) -> bool {
    let of_step = |change: &&ChangeView| change.step.as_deref() == Some(step.name.as_str());
    let mut changes = saga.journal.iter().flat_map(|entry| &entry.changes).filter(of_step);
    let decided = changes.any(|change| matches!(change.verb.as_deref(), Some("skip" | "resolve")));
    decided || step.status == StepStatus::Skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(Direction, &str)]) -> Vec<FactView> {
        let row = |(direction, status): &(Direction, &str)| FactView {
            saga: "checkout:1".into(),
            step: "charge-payment".into(),
            direction: *direction,
            generation: 1,
            status: (*status).to_owned(),
            stored_at: String::new(),
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn rows_of_a_step_come_to_what_holds_now() {
        use Direction::{Action, Compensation};
        let check =
            |of: &[(Direction, &str)], wanted| assert_eq!(stand(&rows(of)), wanted, "{of:?}");
        check(&[(Action, "done")], Stand::Done);
        check(&[(Action, "refused"), (Action, "done")], Stand::Done);
        check(&[(Action, "done"), (Compensation, "refused")], Stand::Done);
        check(
            &[(Action, "done"), (Compensation, "refused"), (Compensation, "done")],
            Stand::Undone,
        );
        check(&[(Action, "refused")], Stand::Nothing);
        check(&[(Action, "tombstone"), (Compensation, "done")], Stand::Nothing);
    }
}

//! What a plan must be before it may run: the list of phases. A phase that finds too much wrong ends the list, so that
//! nobody is told of the consequences.

use crate::plan::wiring::Wiring;
use crate::plan::{Explored, Plan, Problem, explore, shape};

/// Everything that is wrong with a plan; nothing when it may run.
///
/// First what can be read off, then every order in which its events can come: at the end of each, either everything was
/// done and nothing undone, or everything that was done is undone and each undo that was triggered says so.
pub fn check(plan: &Plan) -> Vec<Problem> {
    explored(plan).err().unwrap_or_default()
}

/// What was walked through to find that a plan may run; or, as [`check`], everything that is wrong with it.
pub fn explored(plan: &Plan) -> Result<Explored, Vec<Problem>> {
    let mut problems = Vec::new();
    shape::sense(plan, &mut problems);
    shape::size(plan, &mut problems);
    shape::names(plan, &mut problems);
    shape::origins(plan, &mut problems);
    shape::directions(plan, &mut problems);
    shape::overdue(plan, &mut problems);
    shape::cycle(plan, &mut problems);
    if problems.iter().any(Problem::hides_the_runs) {
        return Err(problems);
    }
    let wiring = Wiring::of(plan);
    shape::pivot(&wiring, &mut problems);
    let explored = explore::runs(&wiring, &mut problems);
    if problems.is_empty() { Ok(explored) } else { Err(problems) }
}

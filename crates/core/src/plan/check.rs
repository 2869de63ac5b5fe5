//! The validation of a plan, as a list of phases. A phase that finds a fundamental problem ends the
//! list, so that its consequences are not reported.

use crate::plan::wiring::Wiring;
use crate::plan::{Explored, Plan, Problem, explore, shape};

/// Returns every problem of a plan; empty if it may run.
///
/// It first checks the static structure, then explores every order of the plan's events. Each run
/// must end with every part done and none undone, or with every done part undone. Every triggered
/// undo must have emitted its event.
pub fn check(plan: &Plan) -> Vec<Problem> {
    explored(plan).err().unwrap_or_default()
}

/// Explores a plan.
///
/// # Errors
/// Returns the problems that [`check`] finds.
pub fn explored(plan: &Plan) -> Result<Explored, Vec<Problem>> {
    let mut problems = Vec::new();
    shape::sense(plan, &mut problems);
    shape::size(plan, &mut problems);
    shape::names(plan, &mut problems);
    shape::origins(plan, &mut problems);
    shape::directions(plan, &mut problems);
    shape::overdue(plan, &mut problems);
    shape::cycle(plan, &mut problems);
    shape::schemas(plan, &mut problems);
    if problems.iter().any(Problem::hides_the_runs) {
        return Err(problems);
    }
    let wiring = Wiring::of(plan);
    shape::pivot(&wiring, &mut problems);
    let explored = explore::runs(&wiring, &mut problems);
    if problems.is_empty() { Ok(explored) } else { Err(problems) }
}

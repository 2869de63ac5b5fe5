//! The validation of a definition: every rule, and the fix of each violation.
//!
//! A draft is lowered first: defaults are filled in and sets are sorted. The hash therefore depends
//! on a definition's meaning, not on its notation.

use sha2::{Digest, Sha256};

use crate::definition::{
    CommandTemplate, Definition, Draft, Error, Graph, Kind, Problem, STEPS_MAX, Source, Step,
};
use crate::id::Name;
use crate::step_set::StepSet;

mod contract;

impl TryFrom<Draft> for Definition {
    type Error = Error;

    /// Accepts definitions that an older program stored, even if they violate newer rules.
    fn try_from(draft: Draft) -> Result<Definition, Error> {
        Definition::validated(draft, |problem| !problem.is_of_a_later_rule())
    }
}

impl Definition {
    /// Validates a draft.
    ///
    /// # Errors
    /// Returns every problem of the draft.
    pub fn check(draft: Draft) -> Result<Definition, Error> {
        Definition::validated(draft, |_| true)
    }

    fn validated(mut draft: Draft, counts: impl Fn(&Problem) -> bool) -> Result<Definition, Error> {
        let mut problems = Vec::new();
        sense(&draft, &mut problems);
        shape(&draft, &mut problems);
        draft.steps.iter().for_each(|step| patience(step, &mut problems));
        contract::participants(&draft, &mut problems);
        contract::schemas(&draft, &mut problems);
        let graph = if problems.iter().any(Problem::hides_the_order) {
            None
        } else {
            order(&draft, &mut problems)
        };
        if let Some(graph) = &graph {
            kinds(&draft, graph, &mut problems);
            draft
                .steps
                .iter()
                .enumerate()
                .for_each(|(index, _)| references(&draft, graph, index, &mut problems));
            deadline(&draft, graph, &mut problems);
        }
        problems.retain(counts);
        match graph {
            Some(graph) if problems.is_empty() => {
                lower(&mut draft, &graph);
                let hash = hash(&draft);
                Ok(Definition::assemble(draft, graph, hash))
            }
            _ => Err(Error { definition: draft.name.to_string(), problems }),
        }
    }
}

/// Checks version, deadline, field names, key, and compensations that repeat their action.
fn sense(draft: &Draft, problems: &mut Vec<Problem>) {
    if draft.version == 0 {
        problems.push(Problem::NoVersion);
    }
    if draft.deadline_ms == Some(0) {
        problems.push(Problem::NoTime);
    }
    let unnameable = |fields: &[String], step: Option<&Name>| {
        let of = step.map_or_else(|| "the input".to_owned(), |step| format!("step '{step}'"));
        let bad = fields.iter().filter(|field| field.is_empty() || field.contains('.'));
        bad.map(|field| Problem::Unnameable { of: of.clone(), field: field.clone() })
            .collect::<Vec<_>>()
    };
    problems.extend(unnameable(&draft.input, None));
    if let Some(key) = draft.key.as_ref().filter(|key| !draft.input.contains(key)) {
        problems.push(Problem::UnknownKey { field: key.clone(), known: draft.input.clone() });
    }
    for step in &draft.steps {
        problems.extend(unnameable(&step.yields, Some(&step.name)));
        let undo = step.compensation.as_ref().filter(|undo| undo.message == step.action.message);
        if let Some(undo) = undo.filter(|undo| undo.participant == step.action.participant) {
            problems.push(Problem::UndoneByItself {
                step: step.name.clone(),
                message: undo.message.clone(),
            });
        }
    }
}

/// Checks names, predecessors and compensations.
fn shape(draft: &Draft, problems: &mut Vec<Problem>) {
    let steps = &draft.steps;
    if steps.is_empty() {
        problems.push(Problem::NoSteps);
    }
    if steps.len() > STEPS_MAX {
        problems.push(Problem::TooManySteps { count: steps.len() });
    }
    for (index, step) in steps.iter().enumerate() {
        if steps[..index].iter().any(|earlier| earlier.name == step.name) {
            problems.push(Problem::SameName { step: step.name.clone() });
        }
        if step.name.as_str() == "input" {
            problems.push(Problem::Reserved);
        }
        for after in step.after.iter().flatten() {
            if !steps.iter().any(|other| other.name == *after) {
                problems.push(Problem::UnknownPredecessor {
                    step: step.name.clone(),
                    after: after.clone(),
                });
            }
        }
        match (step.kind, &step.compensation) {
            (Kind::Compensatable, None) => {
                problems.push(Problem::NoCompensation { step: step.name.clone() })
            }
            (kind @ (Kind::Pivot | Kind::Retriable), Some(_)) => {
                problems.push(Problem::NeverUndone { step: step.name.clone(), kind });
            }
            (Kind::Compensatable, Some(undo)) if undo.participant != step.action.participant => {
                let (action, compensation) =
                    (step.action.participant.clone(), undo.participant.clone());
                problems.push(Problem::OtherParticipant {
                    step: step.name.clone(),
                    action,
                    compensation,
                });
            }
            (Kind::Compensatable, Some(_)) | (Kind::Pivot | Kind::Retriable, None) => {}
        }
    }
    let mut pivots = steps.iter().filter(|step| step.kind == Kind::Pivot);
    if let Some(first) = pivots.next() {
        problems.extend(pivots.map(|second| Problem::TwoPivots {
            first: first.name.clone(),
            second: second.name.clone(),
        }));
    }
}

fn patience(step: &Step, problems: &mut Vec<Problem>) {
    let (name, patience) = (|| step.name.clone(), &step.patience);
    if patience.timeout_ms == 0 {
        problems.push(Problem::NoTimeout { step: name() });
    }
    if patience.backoff_ms_min == 0 {
        problems.push(Problem::NoPause { step: name() });
    }
    if patience.backoff_ms_min > patience.backoff_ms_max {
        let (min, max) = (patience.backoff_ms_min, patience.backoff_ms_max);
        problems.push(Problem::Backoff { step: name(), min, max });
    }
    match (patience.attempts_max, step.kind) {
        (Some(attempts), kind @ (Kind::Pivot | Kind::Retriable)) => {
            problems.push(Problem::NeverGivenUp { step: name(), kind, attempts });
        }
        (Some(0), Kind::Compensatable) => problems.push(Problem::NoAttempts { step: name() }),
        (Some(_) | None, Kind::Compensatable) | (None, Kind::Pivot | Kind::Retriable) => {}
    }
}

/// Computes the order of the steps; `None` if steps wait for one another.
fn order(draft: &Draft, problems: &mut Vec<Problem>) -> Option<Graph> {
    let steps = &draft.steps;
    let number = |name: &Name| steps.iter().position(|step| step.name == *name);
    let before: Vec<StepSet> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| match &step.after {
            Some(names) => names.iter().filter_map(number).collect(),
            None => index.checked_sub(1).into_iter().collect(),
        })
        .collect();
    let (mut settled, mut ancestors) = (StepSet::EMPTY, vec![StepSet::EMPTY; steps.len()]);
    let next = |settled: StepSet| {
        let is_next =
            |index: &usize| !settled.contains(*index) && before[*index].is_subset(settled);
        (0..steps.len()).find(is_next)
    };
    while let Some(next) = next(settled) {
        let earlier = before[next].iter().map(|earlier| ancestors[earlier]);
        ancestors[next] = earlier.fold(before[next], StepSet::union);
        settled.insert(next);
    }
    let unsettled = (0..steps.len()).find(|index| !settled.contains(*index));
    if let Some(first) = unsettled {
        let cycle = cycle(&before, settled, first);
        problems.push(Problem::Cycle {
            steps: cycle.into_iter().map(|index| steps[index].name.clone()).collect(),
        });
        return None;
    }
    let descendants = (0..steps.len())
        .map(|index| (0..steps.len()).filter(|later| ancestors[*later].contains(index)).collect())
        .collect();
    Some(Graph { before, ancestors, descendants })
}

/// Walks back from a step that never becomes ready until a step repeats. Returns the cycle in the
/// order of waiting.
fn cycle(before: &[StepSet], settled: StepSet, first: usize) -> Vec<usize> {
    let mut walked = vec![first];
    loop {
        let here = walked[walked.len() - 1];
        let unsettled = before[here].without(settled).iter().next();
        let earlier = unsettled.expect("a step that is not ready waits for one that is not");
        if let Some(start) = walked.iter().position(|step| *step == earlier) {
            let mut cycle = walked.split_off(start);
            cycle.reverse();
            let lowest = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
            cycle.rotate_left(lowest);
            return cycle;
        }
        walked.push(earlier);
    }
}

/// Checks that the pivot comes after every compensatable step and before every retriable one.
fn kinds(draft: &Draft, graph: &Graph, problems: &mut Vec<Problem>) {
    let pivot = draft.steps.iter().position(|step| step.kind == Kind::Pivot);
    for (index, step) in draft.steps.iter().enumerate() {
        let name = || step.name.clone();
        match (step.kind, pivot) {
            (Kind::Compensatable, Some(pivot)) if !graph.ancestors[pivot].contains(index) => {
                problems.push(Problem::NotBeforePivot {
                    step: name(),
                    pivot: draft.steps[pivot].name.clone(),
                });
            }
            (Kind::Retriable, Some(pivot)) if !graph.ancestors[index].contains(pivot) => {
                problems.push(Problem::NotAfterPivot {
                    step: name(),
                    pivot: draft.steps[pivot].name.clone(),
                });
            }
            (Kind::Retriable, None) => problems.push(Problem::NoPivot { step: name() }),
            (Kind::Compensatable | Kind::Pivot | Kind::Retriable, _) => {}
        }
    }
}

/// Checks that every reference names an earlier step and one of its fields.
fn references(draft: &Draft, graph: &Graph, index: usize, problems: &mut Vec<Problem>) {
    let step = &draft.steps[index];
    let action = step.action.fields.iter().map(|(field, reference)| (field, reference, false));
    let compensation = step.compensation.iter().flat_map(|CommandTemplate { fields, .. }| fields);
    let compensation = compensation.map(|(field, reference)| (field, reference, true));
    for (field, reference, of_compensation) in action.chain(compensation) {
        let (name, field, reference) = (step.name.clone(), field.clone(), reference.clone());
        let known = match &reference.source {
            Source::Input => &draft.input,
            Source::Step(source) => {
                match draft.steps.iter().position(|step| step.name == *source) {
                    None => {
                        problems.push(Problem::UnknownSource { step: name, field, reference });
                        continue;
                    }
                    Some(source) if source == index && of_compensation => {
                        if draft.contract_of(step).repeat.is_barrier() {
                            problems.push(Problem::OwnOutput { step: name, field });
                            continue;
                        }
                        &step.yields
                    }
                    Some(source) if !graph.ancestors[index].contains(source) => {
                        problems.push(Problem::NotAnAncestor { step: name, field, reference });
                        continue;
                    }
                    Some(source) => &draft.steps[source].yields,
                }
            }
        };
        if !known.contains(&reference.field) {
            problems.push(Problem::UnknownField {
                step: name,
                field,
                reference,
                known: known.clone(),
            });
        }
    }
}

/// Checks the saga's deadline against the timeouts and attempts of the compensatable steps.
fn deadline(draft: &Draft, graph: &Graph, problems: &mut Vec<Problem>) {
    let Some(deadline) = draft.deadline_ms else { return };
    let undoable = |step: &&Step| step.kind == Kind::Compensatable;
    let hasty =
        draft.steps.iter().filter(undoable).filter(|step| step.patience.timeout_ms > deadline);
    let hasty = hasty.map(|step| Problem::DeadlineBeforeTimeout {
        step: step.name.clone(),
        deadline,
        timeout: step.patience.timeout_ms,
    });
    let found = problems.len();
    problems.extend(hasty);
    let (needed, path) = longest_path(draft, graph);
    let limited = path.iter().any(|index| draft.steps[*index].patience.attempts_max.is_some());
    if problems.len() == found && limited && needed > deadline {
        let steps = path.into_iter().map(|index| draft.steps[index].name.clone()).collect();
        problems.push(Problem::DeadlineBeforeAttempts { steps, deadline, needed });
    }
}

/// Returns the path of compensatable steps with the longest total of attempts, and that total.
/// Unlimited steps count once.
fn longest_path(draft: &Draft, graph: &Graph) -> (u64, Vec<usize>) {
    let mut inner: Vec<usize> = (0..draft.steps.len())
        .filter(|index| draft.steps[*index].kind == Kind::Compensatable)
        .collect();
    // an ancestor has fewer ancestors than its descendants
    inner.sort_by_key(|index| graph.ancestors[*index].len());
    let mut best: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); draft.steps.len()];
    for index in inner {
        let patience = &draft.steps[index].patience;
        let (earlier, mut path) =
            graph.before[index].iter().map(|before| best[before].clone()).max().unwrap_or_default();
        path.push(index);
        let own = patience.timeout_ms.saturating_mul(u64::from(patience.attempts_max.unwrap_or(1)));
        best[index] = (earlier.saturating_add(own), path);
    }
    best.into_iter().max().unwrap_or_default()
}

/// Fills in defaults and sorts sets.
fn lower(draft: &mut Draft, graph: &Graph) {
    let names: Vec<Name> = draft.steps.iter().map(|step| step.name.clone()).collect();
    draft.input.sort();
    draft.input.dedup();
    for (step, before) in draft.steps.iter_mut().zip(&graph.before) {
        step.after = Some(before.iter().map(|index| names[index].clone()).collect());
        step.yields.sort();
        step.yields.dedup();
    }
    draft.participants.retain(|_, contract| !contract.is_default());
    draft.schemas.sort();
}

/// Hashes the lowered draft: fields in the order of their structs, maps sorted.
fn hash(draft: &Draft) -> String {
    let canonical = serde_json::to_vec(draft).expect("a draft holds only what JSON can hold");
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

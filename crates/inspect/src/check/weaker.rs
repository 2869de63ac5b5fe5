//! Warnings about steps at participants without a barrier, a weaker class of guarantees.

use sagamore_core::definition::{Draft, Kind, Repeat, Step};

/// Returns one sentence for each step whose participant has no barrier.
pub(super) fn warnings(draft: &Draft) -> Vec<String> {
    draft.steps.iter().filter_map(|step| warning(draft, step)).collect()
}

fn warning(draft: &Draft, step: &Step) -> Option<String> {
    let (name, participant) = (&step.name, &step.action.participant);
    let contract = draft.contract(participant);
    let unknown = match (contract.repeat, &contract.query) {
        (Repeat::Barrier, _) => return None,
        (Repeat::ByKey, _) => {
            "its command is resent, which has no second effect only if the participant \
             deduplicates by command id"
                .to_owned()
        }
        (Repeat::Never, Some(query)) => format!("it is queried by '{query}'"),
        (Repeat::Never, None) => {
            "an operator must decide it: name a query to avoid that".to_owned()
        }
    };
    let undo = match step.kind {
        Kind::Compensatable => " It is undone only after that.",
        Kind::Pivot | Kind::Retriable => "",
    };
    let repeat = contract.repeat;
    Some(format!(
        "step '{name}': '{participant}' has no barrier (repeat: {repeat}). If the outcome of the \
         action is unknown, {unknown}.{undo}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_without_a_barrier_is_named() {
        let step = |name: &str, participant: &str| {
            serde_json::json!({
                "name": name, "kind": "compensatable",
                "action": {"participant": participant, "message": format!("{name}.do")},
                "compensation": {"participant": participant, "message": format!("{name}.undo"),
                                 "fields": {"key": "input.key"}},
            })
        };
        let draft: Draft = serde_json::from_value(serde_json::json!({
            "name": "trip", "version": 1, "input": ["key"],
            "steps": [step("book", "hotel"), step("pay", "cards"), step("mail", "post"),
                      step("ring", "phone")],
            "participants": {"cards": {"repeat": "by-key"}, "phone": {"repeat": "never"},
                             "post": {"repeat": "never", "query": "post.status"}},
        }))
        .expect("a draft");
        let warnings = warnings(&draft);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        for (warning, part) in warnings.iter().zip([
            "step 'pay': 'cards' has no barrier (repeat: by-key).",
            "it is queried by 'post.status'. It is undone only after that.",
            "an operator must decide it",
        ]) {
            assert!(warning.contains(part), "{warning}");
        }
    }
}

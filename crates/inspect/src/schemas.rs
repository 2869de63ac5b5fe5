//! JSON Schemas of the data of a definition or plan: the schemas of the file. For a message without
//! one, the schema lists its fields.

use sagamore_core::Plan;
use sagamore_core::definition::{CommandTemplate, Definition, Step};
use serde_json::{Map, Value, json};

/// Returns the schema of the input, of each message and of each output, with the path of its file.
pub fn of_definition(definition: &Definition) -> Vec<(String, Value)> {
    let mut files: Vec<(String, Value)> = Vec::new();
    let mut add = |path: String, schema: Value| {
        if files.iter().all(|(other, _)| *other != path) {
            files.push((path, schema));
        }
    };
    let of = &definition.schemas;
    let input = of.input.clone();
    let fields = || {
        object(definition.input.iter().map(|field| (field.clone(), "A field of the input.".into())))
    };
    add("input.json".to_owned(), input.unwrap_or_else(fields));
    for step in &definition.steps {
        for template in std::iter::once(&step.action).chain(&step.compensation) {
            let known = of.messages.get(&template.message).cloned();
            let path = format!("messages/{}.json", template.message);
            add(path, known.unwrap_or_else(|| of_fields(template)));
        }
        let known = of.outputs.get(&step.action.message).cloned();
        let path = format!("outputs/{}.json", step.action.message);
        add(path, known.unwrap_or_else(|| of_yields(step, &step.yields)));
    }
    for (message, schema) in &of.messages {
        add(format!("messages/{message}.json"), schema.clone());
    }
    files
}

/// Returns the schema of each event that has one, with the path of its file.
pub fn of_plan(plan: &Plan) -> Vec<(String, Value)> {
    let events = plan.schemas.events.iter();
    events.map(|(event, schema)| (format!("events/{event}.json"), schema.clone())).collect()
}

/// Returns the schema of a message without one: an object with its fields, of any type.
pub(crate) fn of_fields(template: &CommandTemplate) -> Value {
    object(template.fields.iter().map(|(field, from)| (field.clone(), format!("From {from}."))))
}

/// Returns the schema of an output without one: an object with the fields that the step yields.
pub(crate) fn of_yields(step: &Step, yields: &[String]) -> Value {
    object(yields.iter().map(|field| (field.clone(), format!("Output of '{}'.", step.name))))
}

/// An object with these fields, each described, of any type.
fn object(fields: impl Iterator<Item = (String, String)>) -> Value {
    let properties: Map<String, Value> =
        fields.map(|(name, about)| (name, json!({ "description": about }))).collect();
    let required: Vec<&String> = properties.keys().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asyncapi::of_plan as of_plan_in_asyncapi;
    use crate::diff::of_plans;
    use crate::files::testing::{DEFINITION, PLAN};
    use crate::files::{SagaFile, check_text};

    #[test]
    fn each_message_has_one_schema() {
        let schemas = "version: 1\nschemas: { messages: { order.create: { maxProperties: 9 } } }";
        let text = DEFINITION.replacen("version: 1", schemas, 1);
        let Ok(SagaFile::Definition(definition)) = check_text(&text) else { panic!("invalid") };
        let files = of_definition(&definition);
        let of = |path: &str| files.iter().find(|(other, _)| other == path).map(|(_, one)| one);
        assert_eq!(of("messages/order.create.json"), Some(&json!({ "maxProperties": 9 })));
        let refund = of("messages/payment.refund.json").expect("a schema");
        assert_eq!(refund["required"], json!([]));
        let output = of("outputs/payment.charge.json").expect("a schema");
        assert_eq!(output["required"], json!(["amountCents", "customerId", "orderId"]));
        assert_eq!(
            of("input.json").expect("a schema")["required"].as_array().map(Vec::len),
            Some(4)
        );
        assert_eq!(files.len(), 1 + (5 + 3) + 5);
    }

    #[test]
    fn the_schemas_of_events_are_exported_described_and_compared() {
        let text = |cents: &str| {
            let schemas =
                format!("version: 1\nschemas: {{ events: {{ payment.success: {cents} }} }}");
            PLAN.replacen("version: 1", &schemas, 1)
        };
        let plan = |cents: &str| {
            let Ok(SagaFile::Plan(plan)) = check_text(&text(cents)) else { panic!("invalid") };
            plan
        };
        let first = plan("{ properties: { cents: { type: integer } } }");
        let schema = json!({ "properties": { "cents": { "type": "integer" } } });
        assert_eq!(of_plan(&first), [("events/payment.success.json".to_owned(), schema.clone())]);
        let document: Value = serde_json::from_str(&of_plan_in_asyncapi(&first)).expect("JSON");
        let messages = document["components"]["messages"].as_object().expect("messages");
        assert!(messages.values().any(|message| message["payload"] == schema), "{messages:#?}");
        let second = plan("{ properties: { cents: { type: string } } }");
        assert_ne!(first.hash(), second.hash());
        let differences = of_plans(&first, &second);
        assert!(differences.iter().any(|one| one.incompatible), "{differences:?}");
        let stored = serde_json::to_string(&first).expect("JSON");
        assert_eq!(serde_json::from_str::<Plan>(&stored).expect("a plan"), first);
    }
}

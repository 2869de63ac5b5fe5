//! A valid definition, of which a test changes some values.

use sagamore_core::Definition;
use sagamore_core::definition::Draft;
use serde_json::Value;

/// A valid definition.
pub struct Changed(pub fn() -> Value);

impl Changed {
    /// Returns the definition with the value at each pointer replaced or inserted.
    pub fn with(&self, changes: &[(&str, Value)]) -> Draft {
        let mut plan = (self.0)();
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match plan.pointer_mut(parent).unwrap() {
                Value::Object(object) => drop(object.insert(key.into(), value.clone())),
                Value::Array(array) => array[key.parse::<usize>().unwrap()] = value.clone(),
                other => panic!("{pointer} leads into {other}"),
            }
        }
        serde_json::from_value(plan).unwrap()
    }

    /// Checks the problems of the changed definition.
    #[track_caller]
    pub fn check(&self, changes: &[(&str, Value)], expected: &[&str]) {
        let error = Definition::check(self.with(changes)).unwrap_err();
        let problems: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected);
    }

    /// Returns the hash of the changed definition.
    pub fn hash(&self, changes: &[(&str, Value)]) -> String {
        Definition::check(self.with(changes)).unwrap().hash().to_owned()
    }
}

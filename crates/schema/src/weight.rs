//! The bound on a schema's references. Cyclic references to the same value would never end, and
//! nested references multiply.

use std::collections::HashMap;

use serde_json::Value;

/// Maximum subschemas, with each reference counted as the schema that it refers to.
pub const WEIGHT_MAX: usize = 20_000;
/// Maximum length of a chain of references.
const CHAIN_MAX: usize = 64;

/// A walk through a schema.
struct Walk<'a> {
    document: &'a Value,
    targets: HashMap<&'a str, Target>,
    /// The number of references that lead to the current schema.
    chain: usize,
    is_recursive: bool,
}

/// The properties of a schema's references.
pub(crate) struct References {
    /// Whether the schema, or a part of it, contains itself.
    pub is_recursive: bool,
}

/// The state of the target of a reference.
#[derive(Clone, Copy)]
enum Target {
    /// The walk of the target is in progress. It began at this level of the checked value.
    Open(usize),
    Weight(usize),
}

/// Checks the references of a schema.
///
/// # Errors
/// Returns the rule that a reference violates.
pub(crate) fn check(schema: &Value) -> Result<References, String> {
    let targets = HashMap::from([("#", Target::Open(0))]);
    let mut walk = Walk { document: schema, targets, chain: 0, is_recursive: false };
    match walk.schema(schema, 0)? {
        weight if weight > WEIGHT_MAX => {
            Err(format!("its references expand to more than {WEIGHT_MAX} schemas: refer to fewer"))
        }
        _ => Ok(References { is_recursive: walk.is_recursive }),
    }
}

impl<'a> Walk<'a> {
    /// Returns the number of schemas within a schema. `level` counts the members and items between
    /// the whole value and the part that the schema applies to.
    fn schema(&mut self, schema: &'a Value, level: usize) -> Result<usize, String> {
        let Value::Object(members) = schema else { return Ok(1) };
        let mut weight = 1_usize;
        for (keyword, member) in members {
            let more = match keyword.as_str() {
                // reached by references only, or no schemas
                "$defs" | "definitions" | "enum" | "const" | "default" | "examples" => 0,
                "$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor" => {
                    return Err(format!("{keyword} is not supported: use $ref and $defs"));
                }
                "$id" if self.chain > 0 || !std::ptr::eq(schema, self.document) => {
                    return Err("$id is supported at the root of a schema only".to_owned());
                }
                "$ref" => self.reference(member.as_str().unwrap_or_default(), level)?,
                "properties" | "patternProperties" => self.each(member, level + 1)?,
                "dependentSchemas" => self.each(member, level)?,
                "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" => {
                    self.any(member, level)?
                }
                _ => self.any(member, level + 1)?,
            };
            weight = weight.saturating_add(more);
        }
        Ok(weight)
    }

    /// Returns the number of schemas in the members of an object, whose names are no keywords.
    fn each(&mut self, object: &'a Value, level: usize) -> Result<usize, String> {
        let schemas = object.as_object().into_iter().flat_map(|object| object.values());
        schemas
            .into_iter()
            .try_fold(0, |sum: usize, schema| Ok(sum.saturating_add(self.schema(schema, level)?)))
    }

    /// Returns the number of schemas in a schema or in a list of schemas.
    fn any(&mut self, value: &'a Value, level: usize) -> Result<usize, String> {
        match value {
            Value::Array(items) => items
                .iter()
                .try_fold(0, |sum: usize, item| Ok(sum.saturating_add(self.any(item, level)?))),
            schema => self.schema(schema, level),
        }
    }

    fn reference(&mut self, target: &'a str, level: usize) -> Result<usize, String> {
        let pointer = target.strip_prefix('#');
        let Some(pointer) = pointer.filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            return Err(format!("it refers to '{target}': use #/$defs/NAME"));
        };
        match self.targets.get(target) {
            Some(Target::Weight(weight)) => return Ok(*weight),
            // a tree may contain itself, a value may not
            Some(Target::Open(from)) if *from == level => {
                return Err(format!("'{target}' refers to itself for the same value"));
            }
            Some(Target::Open(_)) => {
                self.is_recursive = true;
                return Ok(1);
            }
            None => {}
        }
        let Some(schema) = self.document.pointer(pointer) else {
            return Err(format!("it refers to '{target}', which it does not contain"));
        };
        if self.chain == CHAIN_MAX {
            return Err(format!("more than {CHAIN_MAX} references follow one another"));
        }
        self.targets.insert(target, Target::Open(level));
        self.chain += 1;
        let weight = self.schema(schema, level)?;
        self.chain -= 1;
        self.targets.insert(target, Target::Weight(weight));
        Ok(weight)
    }
}

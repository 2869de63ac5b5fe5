//! Arrays as parameters: `UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[]))` passes many rows in one
//! statement.

use std::fmt::Write;

use crate::value::Value;

/// Returns an array of these values, for a parameter of an array type. PostgreSQL parses the array
/// from text. This function does not reject NaN.
pub fn array<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    let mut text = String::from("{");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        push(&mut text, &value.into());
    }
    text.push('}');
    Value::Text(text)
}

fn push(text: &mut String, value: &Value) {
    // writing to a string does not fail
    let _ = match value {
        Value::Null => write!(text, "NULL"),
        Value::Int(value) => write!(text, "{value}"),
        Value::Double(value) if value.is_infinite() => {
            write!(text, "{}", if *value > 0.0 { "Infinity" } else { "-Infinity" })
        }
        Value::Double(value) => write!(text, "{value:e}"),
        Value::Bool(value) => write!(text, "{value}"),
        Value::Bytes(bytes) => {
            text.push_str("\"\\\\x");
            bytes.iter().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
            write!(text, "\"")
        }
        Value::Text(value) => {
            text.push('"');
            for letter in value.chars() {
                if letter == '"' || letter == '\\' {
                    text.push('\\');
                }
                text.push(letter);
            }
            write!(text, "\"")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_in_arrays_are_quoted() {
        let check = |values: Vec<Value>, expected: &str| {
            assert_eq!(array(values), Value::Text(expected.into()))
        };
        check(vec![], "{}");
        check(vec![Value::Int(-1), Value::Null, Value::Int(2)], "{-1,NULL,2}");
        check(vec!["NULL".into(), "".into(), r#"a"\,{}"#.into()], r#"{"NULL","","a\"\\,{}"}"#);
        check(vec![Value::Bytes(vec![]), Value::Bytes(vec![0, 171])], r#"{"\\x","\\x00ab"}"#);
        check(
            vec![Value::Bool(true), Value::Double(0.5), Value::Double(f64::NEG_INFINITY)],
            "{true,5e-1,-Infinity}",
        );
    }
}

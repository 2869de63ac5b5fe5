//! Checks of queries and path parameters: percent-encoded UTF-8 that a database can store.

use sagamore_database::Text;

use super::routes::{Kind, Parameter};
use crate::problem::{Code, Problem};

/// Checks a query against the parameters of an address.
pub fn check(query: &str, parameters: &[Parameter]) -> Result<(), Problem> {
    let mut seen: Vec<&str> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = text("a parameter's name", name)?;
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
            return Err(bad(&name, &unknown(parameters)));
        };
        if seen.contains(&parameter.name) {
            return Err(bad(&name, "is given twice"));
        }
        seen.push(parameter.name);
        let value = text(&name, value)?;
        parameter.kind.check(&value).map_err(|why| bad(&name, &why))?;
    }
    Ok(())
}

/// Checks the parameters of a path against the matching pattern.
pub fn check_path(pattern: &str, path: &str) -> Result<(), Problem> {
    let pairs = pattern.split('/').zip(path.split('/'));
    for (name, value) in pairs.filter(|(name, _)| name.starts_with('{')) {
        text(name.trim_matches(['{', '}']), &value.replace('+', "%2B"))?;
    }
    Ok(())
}

fn unknown(parameters: &[Parameter]) -> String {
    match parameters {
        [] => "is unknown: this address has no parameters".to_owned(),
        some => {
            let names: Vec<&str> = some.iter().map(|parameter| parameter.name).collect();
            format!("is unknown: use one of {}", names.join(", "))
        }
    }
}

fn bad(name: &str, why: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{name} {why}"))
}

/// Decodes a name or value.
fn text(name: &str, encoded: &str) -> Result<String, Problem> {
    let decoded =
        String::from_utf8(decoded(encoded)).map_err(|_| bad(name, "is not valid UTF-8"))?;
    Text::new(&decoded).map_err(|why| bad(name, &why.to_string()))?;
    Ok(decoded)
}

/// Decodes percent-encoding. A percent sign without two digits stands for itself.
fn decoded(encoded: &str) -> Vec<u8> {
    let bytes = encoded.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = encoded
            .get(at + 1..at + 3)
            .filter(|two| byte == b'%' && two.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    decoded
}

impl Kind {
    fn check(self, value: &str) -> Result<(), String> {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Kind::Text => Ok(()),
            Kind::Count(max) => match value.parse::<u32>() {
                Ok(count) if digits && (1..=max).contains(&count) => Ok(()),
                _ => Err(format!("must be a whole number from 1 to {max}")),
            },
            Kind::Seconds if digits && value.parse::<u64>().is_ok() => Ok(()),
            Kind::Seconds => Err("must be a number of seconds".to_owned()),
            Kind::Flag if ["true", "false"].contains(&value) => Ok(()),
            Kind::Flag => Err("must be true or false".to_owned()),
            Kind::OneOf(values) if values.contains(&value) => Ok(()),
            Kind::OneOf(values) => Err(format!("must be one of {}", values.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::{AFTER, WAIT};
    use super::*;

    #[test]
    fn a_query_is_checked_against_the_parameters_of_its_address() {
        const LIMIT: Parameter = Parameter { name: "limit", kind: Kind::Count(500) };
        const STYLE: Parameter = Parameter { name: "style", kind: Kind::OneOf(&["a", "b"]) };
        let check = |query: &str, expected: Option<&str>| {
            let found = check(query, &[LIMIT, AFTER, WAIT, STYLE])
                .err()
                .map(|problem| problem.document().detail);
            assert_eq!(found.as_deref(), expected, "{query}");
        };
        check("", None);
        check("limit=1&after=a%20b+c&wait=3", None);
        check("limit=0", Some("limit must be a whole number from 1 to 500"));
        check("limit=501", Some("limit must be a whole number from 1 to 500"));
        check("limit=%2B1", Some("limit must be a whole number from 1 to 500"));
        check("limit=1&limit=2", Some("limit is given twice"));
        check("after=%FF", Some("after is not valid UTF-8"));
        check(
            "after=%00",
            Some("after contains the character U+0000, which the database cannot store"),
        );
        check("after=%zz%", None);
        check("wait=-1", Some("wait must be a number of seconds"));
        check("colour=red", Some("colour is unknown: use one of limit, after, wait, style"));
        check("style=c", Some("style must be one of a, b"));
    }

    #[test]
    fn a_path_is_checked_by_the_same_rule() {
        let check = |path: &str, expected: bool| {
            assert_eq!(check_path("/orders/{id}", path).is_ok(), expected, "{path}")
        };
        check("/orders/a+b%2Fc", true);
        check("/orders/%FF", false);
        check("/orders/%00", false);
    }
}

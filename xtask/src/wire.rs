//! Compares the pages of the wire format with the code: each header, refusal code and reason of a
//! rejected reply occurs in both.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use sagamore_e2e::workspace::Workspace;

const PAGES: &str = "docs/wire";
/// The only files that know header names.
const HEADERS: &str = "crates/transport/src/wire/";
/// Prefixes of header names. A name that is only a prefix is not a header.
const PREFIXES: [&str; 3] = ["ce_", "kafka_dlt-", "sagamore-dlt-"];
/// Header names of other standards.
const OTHERS: [&str; 3] = ["content-type", "traceparent", "tracestate"];
/// Declarations of texts that a page must quote: a file, and the lines before and after them.
const QUOTED: [(&str, &str, &str); 2] = [
    ("crates/core/src/message.rs", "pub mod code {", "\n}"),
    ("crates/engine/src/turn/letters.rs", "fn as_str(", "\n    }"),
];

/// Returns the headers that only the code or only the pages have, and texts that no page quotes.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let sources = workspace.tracked()?;
    let of = |prefix: &str, suffix: &str| {
        let files = sources.iter();
        let chosen =
            files.filter(|file| file.path.starts_with(prefix) && file.path.ends_with(suffix));
        chosen.map(|file| without_tests(&file.text)).collect::<Vec<&str>>().join("\n")
    };
    let (pages, code) = (of(PAGES, ".md"), of(HEADERS, ".rs"));
    let (written, declared) = (names_in(&pages), constants(&code));
    ensure!(declared.len() > 20, "only {} headers found in {HEADERS}", declared.len());
    let mut offences: Vec<String> = Vec::new();
    offences.extend(
        declared.difference(&written).map(|name| format!("{PAGES}*.md lack the header {name}")),
    );
    offences.extend(
        written
            .difference(&declared)
            .map(|name| format!("{PAGES}*.md: no code has the header {name}")),
    );
    for (path, before, after) in QUOTED {
        let text = of(path, "");
        let texts =
            text.split_once(before).and_then(|(_, rest)| Some(quoted(rest.split(after).next()?)));
        let texts = texts.filter(|texts| !texts.is_empty());
        ensure!(texts.is_some(), "{path}: no texts behind '{before}'");
        let missing =
            texts.into_iter().flatten().filter(|text| !pages.contains(&format!("`{text}`")));
        offences.extend(missing.map(|text| format!("{PAGES}*.md lack `{text}` of {path}")));
    }
    Ok(offences)
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Returns the header names among the constants of these files.
fn constants(code: &str) -> BTreeSet<String> {
    let values = code.lines().filter(|line| line.contains("const ") && line.contains(": &str = "));
    values.flat_map(quoted).filter(|text| is_header(text)).collect()
}

fn is_header(text: &str) -> bool {
    let has_prefix = PREFIXES
        .iter()
        .any(|prefix| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
    has_prefix || OTHERS.contains(&text)
}

/// Returns the header names in a page.
fn names_in(page: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    page.split(|letter| !is_part(letter))
        .filter(|word| is_header(word))
        .map(str::to_owned)
        .collect()
}

/// Returns the texts between double quotes, without escapes.
fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_the_wire_format_agree_with_the_code() {
        let offences = check(&Workspace::find().unwrap()).unwrap();
        assert!(offences.is_empty(), "{offences:#?}");
    }

    #[test]
    fn header_names_are_found_in_code_and_in_pages() {
        let code = "const A: &str = \"ce_id\";\nconst B: &str = \"kafka_dlt-\";\n\
            let c = \"ce_time\";\nconst D: &str = \"traceparent\";\nconst E: &str = \"-dlt\";\n";
        let found: Vec<String> = constants(code).into_iter().collect();
        assert_eq!(found, ["ce_id", "traceparent"]);
        let page = "| `ce_id`, `content-type` | `kafka_dlt-` and kafka_dlt-original-topic: the |";
        let found: Vec<String> = names_in(page).into_iter().collect();
        assert_eq!(found, ["ce_id", "content-type", "kafka_dlt-original-topic"]);
    }
}

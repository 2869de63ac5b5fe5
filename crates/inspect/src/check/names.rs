//! Lists of names.

/// Returns the names, each once.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.iter().any(|other| other == name) {
            distinct.push(name.to_owned());
        }
    }
    distinct
}

/// Joins names.
pub(super) fn joined(names: impl IntoIterator<Item = impl ToString>, between: &str) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<String>>().join(between)
}

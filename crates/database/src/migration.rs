//! Schema changes: numbered, run once, only ever expanding.

/// One step of a schema. Steps only expand (add a table, a nullable column, an index), so that an older program goes on.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Unique within its owner, in order: `0001-barrier`.
    pub id: &'static str,
    /// Portable statements, separated by semicolons.
    pub sql: &'static str,
}

//! The observed services.

use sagamore_database::Database;

/// A check of a service's database after every commit. Returns the violation's name and detail.
pub type Audit = Box<dyn Fn(&Database) -> Option<(&'static str, String)> + Send>;

/// The additional table in every service's database, with effects and with the barrier's rows,
/// which have a status.
pub const EFFECTS: &str = "CREATE TABLE sim_effect (seq INTEGER PRIMARY KEY AUTOINCREMENT, saga \
 TEXT NOT NULL, \
    step TEXT NOT NULL, direction TEXT NOT NULL, generation INTEGER, status TEXT)";

/// An observed service.
pub(super) struct Watch {
    pub last: i64,
    pub audit: Audit,
}

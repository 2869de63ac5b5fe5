//! The contract of every backend: the promises of the port and the portable subset, as tests.
//!
//! [`contract_suite!`](crate::contract_suite) generates all tests for an adapter. None can be left
//! out.

mod schema;
mod statements;
mod transactions;

use crate::{Database, Error};

pub use schema::*;
pub use statements::*;
pub use transactions::*;

/// Returns a new, empty database on each call.
pub type Fresh<'a> = &'a dyn Fn() -> Database;

/// The result of a check. A failed assertion panics, and an unexpected error is returned.
pub type Checked = Result<(), Error>;

/// Generates one test per promise. `$fresh` is evaluated for every test and returns an `impl Fn()
/// -> Database`.
///
/// With `if there $fresh` it returns an `Option` of that, and `None` skips the suite, for example
/// without a server.
#[macro_export]
macro_rules! contract_suite {
    (if there $fresh:expr) => {
        $crate::contract_suite! { $fresh =>
            every_type_comes_back_as_it_went_in
            what_cannot_be_stored_is_refused
            parameters_go_by_their_name
            a_wrong_statement_says_what_is_wrong
            a_handler_cannot_end_the_transaction
            changed_rows_are_counted
            a_conflict_updates_or_does_nothing
            returning_gives_rows
            one_statement_runs_with_many_sets
            a_broken_constraint_is_told_from_a_wrong_statement
            rows_written_adds_up
            reading_sees_only_what_is_committed
            reading_does_not_write
            what_is_dropped_is_rolled_back
            what_is_dropped_is_rolled_back_though_a_handle_is_kept
            a_kept_handle_is_over_after_the_end
            savepoints_nest
            after_an_error_a_savepoint_brings_back_what_was
            a_failed_statement_aborts_what_was_done_since_the_last_savepoint
            a_failed_statement_leaves_what_was_done_before_its_savepoint
            whoever_read_what_was_never_committed_does_not_end_well
            two_hundred_at_once_are_all_committed
            one_that_is_rolled_back_takes_no_other_along
            what_is_dropped_at_any_await_holds_nobody_up
            migrations_run_once_and_in_order
            migrations_run_once_when_many_start
            a_migration_that_fails_changes_nothing
            an_older_program_is_refused_only_when_the_schema_says_so
            a_dialect_gets_its_own_text
        }
    };
    ($fresh:expr) => {
        $crate::contract_suite!(if there Some($fresh));
    };
    ($fresh:expr => $($promise:ident)+) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let Some(fresh) = $fresh else { return };
                $crate::contract::$promise(&fresh).await.unwrap();
            }
        )+
    };
}

/// Runs statements in a transaction of their own.
async fn committed(db: &Database, statements: &str) -> Checked {
    let open = db.begin().await?;
    open.tx().batch(statements).await?;
    open.commit().await
}

/// Returns the single number of a query.
async fn number(db: &Database, sql: &str) -> Result<i64, Error> {
    db.query(sql, ()).await?[0].get(0)
}

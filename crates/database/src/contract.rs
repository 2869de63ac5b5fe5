//! The contract of every backend: the promises of the port and the portable subset, as tests.
//!
//! [`contract_suite!`](crate::contract_suite) generates all tests for an adapter. None can be left
//! out.

mod fresh;
mod schema;
mod statements;
mod transactions;

pub use fresh::{Checked, Fresh};
pub use schema::*;
pub use statements::*;
pub use transactions::*;

/// Generates one test per promise. `$fresh` is evaluated for every test and returns an `impl Fn()
/// -> Database`.
///
/// With `if there $fresh`, the expression returns an `Option` of that function. `None` skips the
/// suite, for example without a server.
#[macro_export]
macro_rules! contract_suite {
    (if there $fresh:expr) => {
        $crate::contract_suite! { $fresh =>
            every_type_survives_a_round_trip
            values_that_cannot_be_stored_are_rejected
            parameters_are_bound_by_name
            the_error_of_a_wrong_statement_names_its_cause
            a_handler_cannot_end_the_transaction
            changed_rows_are_counted
            a_conflict_updates_or_does_nothing
            returning_gives_rows
            one_statement_runs_with_many_sets
            columns_are_read_by_name
            a_statement_runs_for_all_given_rows
            given_rows_hold_every_type
            a_violated_constraint_is_distinguished_from_a_wrong_statement
            rows_written_adds_up
            reads_see_only_committed_rows
            reads_cannot_write
            a_dropped_transaction_is_rolled_back
            a_dropped_transaction_is_rolled_back_despite_a_live_handle
            a_handle_is_unusable_after_the_end
            savepoints_nest
            a_savepoint_restores_the_state_before_an_error
            a_failed_statement_aborts_up_to_the_last_savepoint
            a_failed_statement_leaves_earlier_savepoints_intact
            a_transaction_that_read_a_failed_commit_fails
            two_hundred_at_once_are_all_committed
            a_rollback_does_not_affect_other_transactions
            futures_dropped_at_any_await_block_no_other
            migrations_run_once_and_in_order
            migrations_run_once_when_many_start
            a_migration_that_fails_changes_nothing
            an_older_program_is_rejected_only_by_a_schema_that_requires_a_newer_one
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

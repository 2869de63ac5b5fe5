//! A local transaction of the order service that belongs to no saga.

use sagamore::database::Database;
use sagamore::sdk::{Decided, Tx};

use crate::order::Rejected;

/// Runs one local transaction of the order service outside of any saga. A refusal rolls it back.
pub(super) async fn transact<F>(
    database: &Database,
    work: impl FnOnce(Tx) -> F,
) -> Decided<(), Rejected>
where
    F: Future<Output = Decided<(), Rejected>>,
{
    let open = database.begin().await?;
    let outcome = work(open.tx()).await?;
    match outcome {
        Ok(()) => open.commit().await?,
        Err(_) => open.rollback().await?,
    }
    Ok(outcome)
}

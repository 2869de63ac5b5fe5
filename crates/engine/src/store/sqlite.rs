//! The batch on SQLite: each statement once per row, in the single process that writes.

use sagamore_database::{Statement, Tx};

use super::row::{CHANGES, ChangedSaga, JournalRow, NewSaga, Write, WriteOutcome};
use crate::error::Error;

static INSERT: Statement<NewSaga<'_>> =
    Statement::insert("saga", "ON CONFLICT (id) DO NOTHING RETURNING seq");

static UPDATE: Statement<ChangedSaga<'_>> = Statement::built(|| {
    format!(
        "UPDATE saga SET {CHANGES} FROM given
         WHERE saga.seq = given.seq AND saga.revision = given.read_revision"
    )
});

static JOURNAL: Statement<JournalRow> = Statement::insert("journal", "");

/// Writes sagas and journals. Those that changed meanwhile are conflicts.
pub(super) async fn write(tx: &Tx, writes: &[Write<'_>]) -> Result<Vec<WriteOutcome>, Error> {
    let mut saved = vec![WriteOutcome::Conflict; writes.len()];
    let (fresh, known): (Vec<usize>, Vec<usize>) =
        (0..writes.len()).partition(|&index| writes[index].seq.is_none());
    let new = fresh.iter().map(|&index| NewSaga::of(writes[index].saga, None));
    for (&index, rows) in fresh.iter().zip(tx.query_row_by_row(&INSERT, new).await?) {
        if let Some(row) = rows.first() {
            saved[index] = WriteOutcome::Row(row.get("seq")?);
        }
    }
    let changes =
        known.iter().filter_map(|&index| Some(ChangedSaga::of(&writes[index], writes[index].seq?)));
    for (&index, changed) in known.iter().zip(tx.execute_row_by_row(&UPDATE, changes).await?) {
        if let (1, Some(seq)) = (changed, writes[index].seq) {
            saved[index] = WriteOutcome::Row(seq);
        }
    }
    let mut journal = Vec::new();
    for (write, saved) in writes.iter().zip(&saved) {
        if let WriteOutcome::Row(seq) = saved {
            for entry in write.entries {
                journal.push(JournalRow::of(&write.saga.id, *seq, entry)?);
            }
        }
    }
    tx.execute_rows(&JOURNAL, journal).await?;
    Ok(saved)
}

//! The macro that declares a table of the shop.

/// Declares one table as a migration. The key is a text, so on SQLite the table is `WITHOUT ROWID`.
macro_rules! table {
    ($id:literal, $sql:literal) => {
        ::sagamore::sdk::Migration::new($id, $sql).on_sqlite(concat!($sql, " WITHOUT ROWID"))
    };
}

pub(crate) use table;

//! How the shop's tables are declared.

/// One table as a step of a schema. Its key is a text, so SQLite keeps the rows in the key's own tree.
macro_rules! table {
    ($id:literal, $sql:literal) => {
        ::sagamore::sdk::Migration::new($id, $sql).on_sqlite(concat!($sql, " WITHOUT ROWID"))
    };
}

pub(crate) use table;

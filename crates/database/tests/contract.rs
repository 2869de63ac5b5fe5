//! SQLite against the contract of the port, on disk and in memory.

use std::cell::Cell;

use sagamore_database::Database;

fn on_disk() -> impl Fn() -> Database {
    let directory = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    move || {
        count.set(count.get() + 1);
        Database::sqlite(&directory.path().join(format!("{}.db", count.get()))).unwrap()
    }
}

mod disk {
    sagamore_database::contract_suite!(super::on_disk());
}

mod memory {
    sagamore_database::contract_suite!(sagamore_database::Database::memory);
}

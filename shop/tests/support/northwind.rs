//! The files of the Northwind orders, in `SAGAMORE_NORTHWIND` or beside the repository.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use sagamore::database::testing::skipped;
use sagamore_shop::Order;
use sagamore_shop::import::{Record, lines};

/// Returns the folder of the files. If it is missing, reports a skipped test.
pub fn folder() -> Option<PathBuf> {
    let set = std::env::var_os("SAGAMORE_NORTHWIND").map(PathBuf::from);
    let beside = || {
        Some(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .nth(2)?
                .join("shared")
                .join("northwind"),
        )
    };
    let folder = set.or_else(beside).filter(|folder| folder.join(Order::FILE).exists());
    if folder.is_none() {
        skipped("SAGAMORE_NORTHWIND does not name the folder of the real orders");
    }
    folder
}

/// Reads every row of a file.
pub fn all<T: Record>(folder: &Path) -> Vec<T> {
    let file = File::open(folder.join(T::FILE)).expect("open the file");
    lines(T::FILE, BufReader::new(file)).collect::<Result<_, _>>().expect("every line is valid")
}

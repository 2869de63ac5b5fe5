//! The contract of a transport on the embedded log: in memory, in a directory, and with all reads
//! from files.

mod memory {
    use std::sync::Arc;

    use sagamore_transport::log::Options;
    use sagamore_transport::{Log, MemoryDisk, Transport};

    async fn new() -> (Arc<dyn Transport>, ()) {
        let log = Log::on(Arc::new(MemoryDisk::new()), Options::default()).expect("open");
        (Arc::new(log), ())
    }

    sagamore_transport::contract_suite!(new);
}

mod directory {
    use std::sync::Arc;

    use sagamore_transport::log::Options;
    use sagamore_transport::{Log, Transport};
    use tempfile::TempDir;

    async fn new() -> (Arc<dyn Transport>, TempDir) {
        let directory = TempDir::new().expect("make a directory");
        let log = Log::open(directory.path(), Options::default()).expect("open");
        (Arc::new(log), directory)
    }

    sagamore_transport::contract_suite!(new);
}

mod small_segments_and_nothing_kept_in_memory {
    use std::sync::Arc;

    use sagamore_transport::log::Options;
    use sagamore_transport::{Log, Transport};
    use tempfile::TempDir;

    async fn new() -> (Arc<dyn Transport>, TempDir) {
        let directory = TempDir::new().expect("make a directory");
        let options = Options { segment_bytes: 2_000, recent_bytes_max: 0, ..Options::default() };
        (Arc::new(Log::open(directory.path(), options).expect("open")), directory)
    }

    sagamore_transport::contract_suite!(new);
}

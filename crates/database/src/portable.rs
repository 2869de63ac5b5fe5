//! The portable subset of SQL: what every backend understands alike.

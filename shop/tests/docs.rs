//! Compares the files in the docs with the shop's code.

use std::path::Path;

use sagamore::inspect::files::{self, SagaFile};

fn read(name: &str) -> SagaFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plans").join(name);
    files::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_files_in_the_docs_match_the_plan_and_the_definition() {
    let SagaFile::Plan(plan) = read("fulfilment.yaml") else {
        panic!("fulfilment.yaml is not a plan")
    };
    assert_eq!(plan, sagamore_shop::choreography::plan().unwrap_or_else(|error| panic!("{error}")));
    let SagaFile::Definition(read) = read("checkout.yaml") else {
        panic!("checkout.yaml is not a definition")
    };
    assert_eq!(read, sagamore_shop::checkout().expect("the shop's definition is valid"));
}

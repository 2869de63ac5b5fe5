//! The places of core's problems in the definition or plan, as JSON pointers.

pub(crate) mod definition;
pub(crate) mod plan;

use sagamore_core::Name;

use crate::pointer::Pointer;

/// Returns the pointer of a name in a list, or of the list if the name is not in it.
fn name_in<'a>(
    pointer: Pointer,
    names: impl IntoIterator<Item = &'a Name>,
    name: &Name,
) -> Pointer {
    match names.into_iter().position(|other| other == name) {
        Some(index) => pointer.item(index),
        None => pointer,
    }
}

//! The tests of this crate as one program, so that it links once.

extern crate sagamore_core as sagamore; // for the derives

mod backward;
mod contract;
mod drawn;
mod faults;
mod forward;
mod journal;
mod meaning;
mod properties;
mod rescue;
mod script;
mod sending;
mod set_aside;
mod stored;
mod support;
mod typed;
mod validate;
mod without_barrier;
mod wrong_output;

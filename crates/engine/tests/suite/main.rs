//! The tests of this crate as one program: one link instead of 16.

extern crate sagamore_core as sagamore; // for the derives

mod announcements;
mod aside;
mod bytes;
mod clocks;
mod common;
mod definitions;
mod foreign;
mod keys;
mod locked;
mod newer;
mod plans;
mod poison;
mod publishing;
mod recovering;
mod retention;
mod schemas;
mod sending;
mod sharing;
mod starting;
mod takeover;
mod timers;
mod unreadable;
mod verbs;

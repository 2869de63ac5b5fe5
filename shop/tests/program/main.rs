//! The real binary, over HTTP and the command line, stopped, killed and restarted.

mod support;

mod article;
mod doors;
mod one_rule;
mod orders;
mod problems;
mod records;
mod rejected;
mod sagas;

mod cli;
mod clocks;
mod configuration;
mod files;
mod process;
mod services;

mod choreography;
mod killed;
mod reconcile;
mod replay;

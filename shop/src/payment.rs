//! The payment service: accounts and charges.

mod messages;

mod accounts;
pub mod choreographed;
pub mod domain;
mod orchestrated;

pub use accounts::{Account, account, accounts, balance_cents, load};
pub use domain::{Declined, MIGRATIONS};
pub use messages::{Charge, ChargeFrom, Charged, ChargedFrom, Refund};
pub use orchestrated::service;

/// The service's name.
pub const SERVICE: &str = "payment";

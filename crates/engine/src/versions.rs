//! Stored versions of definitions and of plans: registration, activation and retirement. Both kinds
//! follow the same rules, in tables of their own.

mod store;
mod unused;
mod version;

pub use store::VersionStore;
pub(crate) use unused::{LATE_STARTS, UnusedBodies};
pub(crate) use version::CheckedContents;
pub use version::{
    ListedVersion, Registered, RegistrationMode, RegistrationOutcome, StoredVersion,
};

pub use crate::version_kind::VersionKind;

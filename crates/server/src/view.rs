//! Sagas, chains and definitions in the API's JSON, which the server writes and the CLI parses.
//! Times are RFC 3339.

mod chain;
mod definition;
mod facts;
mod journal;
mod page;
mod saga;

pub use chain::{BegunView, RESOLVE, chain_line, chain_view, standing};
pub use definition::{
    DefinitionLine, DefinitionLines, DefinitionView, DiffView, DifferenceView, RegistrationView,
};
pub use facts::{FactView, Facts, FaultView, Faults};
pub use journal::{CauseView, ChangeView, EntryView};
pub use page::{Lines, ListPosition};
pub use saga::{EventView, Line, OpenFaultView, SagaView, Standing, StepView, Style, WaitView};

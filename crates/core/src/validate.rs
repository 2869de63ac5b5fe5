//! What a definition must be before it may run.

use crate::definition::{Definition, Draft};

impl TryFrom<Draft> for Definition {
    type Error = String;

    fn try_from(_draft: Draft) -> Result<Definition, String> {
        Err("validation is not there yet".into())
    }
}

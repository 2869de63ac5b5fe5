//! `#[derive(Message)]`: a plain struct becomes a message, and its fields become references for plans.
//!
//! What it implements is documented where it is used: `sagamore_core::typed`. The code that comes out names the crate
//! `sagamore_core`, so that is a dependency of every crate that derives.

mod message;

use proc_macro::TokenStream;

/// Makes a struct with named fields, or a unit struct, a message of the same name in kebab-case.
///
/// - `#[message(to = "payment", yields = Charged)]`: an action of that participant, and what it gives (`()` if left out).
/// - `#[message(to = "payment", undoes = Charge)]`: what undoes that action of the same participant.
/// - `#[message(name = "payment.charge.v2")]`: another name on the wire.
///
/// Fields are in camelCase on the wire, and unknown ones are ignored. `Charge` also gets `ChargeFrom`: the same fields
/// as references. A unit struct is an empty object on the wire and stands for its own references.
#[proc_macro_derive(Message, attributes(message))]
pub fn message(input: TokenStream) -> TokenStream {
    message::expand(syn::parse_macro_input!(input)).unwrap_or_else(|error| error.to_compile_error()).into()
}

//! The derives: `#[derive(Message)]` for messages between services, `#[derive(Refusal)]` for
//! reasons to refuse.
//!
//! The generated code names `::sagamore::__private` only. A crate that
//! `sagamore` depends on declares its own root once (`extern crate sagamore_sdk as sagamore;`). A
//! crate that renames `sagamore` names the root with `crate = ..`.

mod message;
mod refusal;
mod root;

use proc_macro::TokenStream;

/// Implements `Message` for a struct with named fields or a unit struct. Its name on the wire is in
/// kebab-case.
///
/// - `#[message(to = "payment", yields = Charged)]`: an action of that participant, and its output
///   (`()` by default).
/// - `#[message(to = "payment", undoes = Charge)]`: the compensation of that action of the same
///   participant.
/// - `#[message(name = "payment.charge.v2")]`: another name on the wire.
/// - `#[message(schema)]`: the JSON Schema of the fields. The SDK checks an action's output against
///   it, and a definition with `typed_schemas()` includes it. A field may add keywords:
///   `#[message(minimum = 1, max_length = 40)]`.
/// - `#[message(crate = money::sagamore)]`: where the crate `sagamore` is, if not at `::sagamore`.
///
/// Fields are in camelCase on the wire, and unknown ones are ignored. `Charge` also gets
/// `ChargeFrom`: the same fields as references. A unit struct is an empty object on the wire and
/// stands for its own references.
#[proc_macro_derive(Message, attributes(message))]
pub fn message(input: TokenStream) -> TokenStream {
    message::expand(syn::parse_macro_input!(input))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Implements `IntoRefusal` for an enum with a code on each variant, or a struct with a code.
///
/// - `#[refusal(code = "not-enough-money")]`: the stable code on the wire. The name of a variant
///   never determines it.
/// - `#[refusal(code = "not-free", message = "seat {0} is taken")]`: also implements `Display` and
///   `Error`. Placeholders name fields: `{0}`, `{seat}`, `{seat:?}`. Without a `message` on any
///   variant, the type must implement `Display` (thiserror, or manually), which is the message.
/// - `#[refusal(crate = money::sagamore)]` on the type: the path of the crate `sagamore`, by
///   default `::sagamore`.
#[proc_macro_derive(Refusal, attributes(refusal))]
pub fn refusal(input: TokenStream) -> TokenStream {
    refusal::expand(syn::parse_macro_input!(input))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

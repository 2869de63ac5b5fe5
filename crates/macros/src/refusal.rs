//! Expands `#[derive(Refusal)]`.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Member, Result};

use crate::root::Root;

/// Maximum bytes of a code.
const CODE_BYTES_MAX: usize = 100;

/// The contents of `#[refusal(..)]` on a type or on a variant.
#[derive(Default)]
struct Options {
    root: Option<Root>,
    code: Option<LitStr>,
    message: Option<LitStr>,
}

/// One kind of refusal: a variant of an enum, or a whole struct.
struct Case<'a> {
    /// The path of the pattern: `Self::NotFree`, or `Self` for a struct.
    path: TokenStream,
    fields: &'a Fields,
    code: LitStr,
    message: Option<LitStr>,
}

pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    let mut of_type = Options::read(&input.attrs)?;
    let root = of_type.root.take().unwrap_or_default();
    let cases = cases(&input, of_type)?;
    let codes = cases.iter().map(|Case { path, code, .. }| quote! { #path { .. } => #code });
    let reserved = cases.iter().map(|Case { code, .. }| {
        let taken = format!(
            "the code `{}` is reserved for refusals by the participant itself",
            code.value()
        );
        quote! { const _: () = ::core::assert!(!#root::is_reserved(#code), #taken); }
    });
    // an enum without variants has no value, and a reference to it cannot be matched without an arm
    let refusal = match cases.is_empty() {
        true => quote! { match self {} },
        false => quote! {
            let code = match &self { #(#codes),* };
            #root::Refusal::new(code, ::std::string::ToString::to_string(&self))
        },
    };
    let display = display(&input, &cases)?;
    let (name, (generics, arguments, bounds)) = (&input.ident, input.generics.split_for_impl());
    Ok(quote! {
        #[automatically_derived]
        impl #generics #root::IntoRefusal for #name #arguments #bounds {
            fn into_refusal(self) -> #root::Refusal {
                #refusal
            }
        }
        #(#reserved)*
        #display
    })
}

impl Options {
    fn read(attributes: &[Attribute]) -> Result<Options> {
        let mut options = Options::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("refusal"))
        {
            attribute.parse_nested_meta(|meta| {
                match meta.path.get_ident().map(Ident::to_string).as_deref() {
                    Some("crate") => options.root = Some(Root::read(&meta)?),
                    Some("code") => options.code = Some(legal(meta.value()?.parse()?)?),
                    Some("message") => options.message = Some(meta.value()?.parse()?),
                    _ => {
                        return Err(
                            meta.error("write `code = \"..\"`, `message = \"..\"` or `crate = ..`")
                        );
                    }
                }
                Ok(())
            })?;
        }
        Ok(options)
    }

    fn case<'a>(self, named: &Ident, path: TokenStream, fields: &'a Fields) -> Result<Case<'a>> {
        let Options { root, code, message } = self;
        if root.is_some() {
            return Err(Error::new_spanned(
                named,
                "`crate = ..` belongs to the type, not to a variant",
            ));
        }
        let Some(code) = code else {
            let wanted = format!(
                "`{named}` has no refusal code: write `#[refusal(code = \"..\")]` above it"
            );
            return Err(Error::new_spanned(named, wanted));
        };
        Ok(Case { path, fields, code, message })
    }
}

/// Checks a code at compile time. A participant sends the code without another check.
fn legal(code: LitStr) -> Result<LitStr> {
    let text = code.value();
    let first = text.starts_with(|letter: char| letter.is_ascii_lowercase());
    let rest = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if first && rest && text.len() <= CODE_BYTES_MAX {
        return Ok(code);
    }
    let wanted = "use a-z, 0-9 and '-', a letter first, 100 at most";
    Err(Error::new(code.span(), format!("`{text}` is not a refusal code: {wanted}")))
}

fn cases(input: &DeriveInput, of_type: Options) -> Result<Vec<Case<'_>>> {
    match &input.data {
        Data::Struct(data) => Ok(vec![of_type.case(&input.ident, quote!(Self), &data.fields)?]),
        Data::Enum(data) => {
            if let Some(misplaced) = of_type.code.or(of_type.message) {
                return Err(Error::new(
                    misplaced.span(),
                    "an enum has its codes and messages on its variants",
                ));
            }
            let case =
                |variant: &'_ syn::Variant| (variant.ident.clone(), Options::read(&variant.attrs));
            let read = data.variants.iter().map(|variant| (case(variant), &variant.fields));
            read.map(|((name, options), fields)| options?.case(&name, quote!(Self::#name), fields))
                .collect()
        }
        Data::Union(_) => Err(Error::new_spanned(&input.ident, "a refusal is an enum or a struct")),
    }
}

/// Implements `Display` and `Error` from the messages, if there are any.
fn display(input: &DeriveInput, cases: &[Case<'_>]) -> Result<TokenStream> {
    if cases.iter().all(|case| case.message.is_none()) {
        return Ok(TokenStream::new());
    }
    let arms = cases.iter().map(arm).collect::<Result<Vec<_>>>()?;
    let (name, (generics, arguments, bounds)) = (&input.ident, input.generics.split_for_impl());
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::core::fmt::Display for #name #arguments #bounds {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self { #(#arms),* }
            }
        }

        #[automatically_derived]
        impl #generics ::core::error::Error for #name #arguments #bounds {}
    })
}

fn arm(case: &Case<'_>) -> Result<TokenStream> {
    let Case { path, fields, code, message } = case;
    let Some(message) = message else {
        return Err(Error::new(
            code.span(),
            "this code lacks a `message = \"..\"`, which other codes have",
        ));
    };
    let (text, names) = placeholders(&message.value());
    let mut bound = Vec::new();
    for (member, name) in fields.members().map(|member| (member.clone(), variable(&member))) {
        if names.contains(&name.unraw().to_string()) {
            bound.push((member, name));
        }
    }
    if let Some(unknown) =
        names.iter().find(|name| bound.iter().all(|(_, field)| field.unraw() != name.as_str()))
    {
        let unknown = unknown.strip_prefix("field_").unwrap_or(unknown);
        return Err(Error::new(
            message.span(),
            format!("`{{{unknown}}}` is not the name or number of a field"),
        ));
    }
    let patterns = bound.iter().map(|(member, name)| match member {
        Member::Named(_) => quote! { #name },
        Member::Unnamed(index) => quote! { #index: #name },
    });
    let arguments = bound.iter().map(|(_, name)| {
        let placeholder = name.unraw();
        quote! { #placeholder = #name }
    });
    let text = LitStr::new(&text, message.span()).into_token_stream();
    Ok(quote! { #path { #(#patterns,)* .. } => ::core::write!(formatter, #text #(, #arguments)*) })
}

/// Returns the variable of a field in a pattern: its name, or `field_0`.
fn variable(member: &Member) -> Ident {
    match member {
        Member::Named(name) => name.clone(),
        Member::Unnamed(index) => format_ident!("field_{}", index.index),
    }
}

/// Returns the format string with `{field_0}` for `{0}`, and the names of all placeholders.
fn placeholders(message: &str) -> (String, BTreeSet<String>) {
    let (mut text, mut names, mut rest) = (String::new(), BTreeSet::new(), message);
    while let Some(open) = rest.find('{') {
        let (before, after) = rest.split_at(open + 1);
        text.push_str(before);
        rest = after;
        if let Some(escaped) = rest.strip_prefix('{') {
            text.push('{');
            rest = escaped;
            continue;
        }
        let end = rest.find(['}', ':']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = if name.starts_with(|first: char| first.is_ascii_digit()) {
            format!("field_{name}")
        } else {
            name.to_owned()
        };
        text.push_str(&name);
        names.insert(name);
        rest = after;
    }
    text.push_str(rest);
    (text, names)
}

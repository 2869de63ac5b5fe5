//! Expands `#[derive(Message)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Error, Field, Fields, Ident, Lit, LitStr, Path, Result, Token,
    Type, Visibility,
};

use crate::root::Root;

/// The contents of `#[message(..)]`.
#[derive(Default)]
struct Options {
    root: Root,
    to: Option<LitStr>,
    name: Option<LitStr>,
    yields: Option<Type>,
    undoes: Option<Path>,
    schema: bool,
}

/// A field, with its name on the wire.
struct Member<'a> {
    ident: &'a Ident,
    holds: &'a Type,
    vis: &'a Visibility,
    wire: String,
    attributes: &'a [Attribute],
}

pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    let (message, options, members) = (&input.ident, Options::read(&input)?, members(&input)?);
    let name = options.name(message)?;
    let root = &options.root;
    let (from, mirror) = mirror(&input, &members, root);
    let (serde, role) = (serde(message, &members, root), role(message, &options)?);
    let (schema, described) = schema(message, &members, &options)?;
    Ok(quote! {
        #[automatically_derived]
        impl #root::Message for #message {
            const NAME: &'static str = #name;
            type From = #from;
            #schema
        }
        #described
        #serde
        #mirror
        #role
    })
}

impl Options {
    fn read(input: &DeriveInput) -> Result<Options> {
        let mut options = Options::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("message"))
        {
            attribute.parse_nested_meta(|meta| {
                match meta.path.get_ident().map(Ident::to_string).as_deref() {
                    Some("crate") => options.root = Root::read(&meta)?,
                    Some("to") => options.to = Some(legal(meta.value()?.parse()?)?),
                    Some("name") => options.name = Some(legal(meta.value()?.parse()?)?),
                    Some("yields") => options.yields = Some(meta.value()?.parse()?),
                    Some("undoes") => options.undoes = Some(meta.value()?.parse()?),
                    Some("schema") => options.schema = true,
                    _ => {
                        let wanted =
                            "write `to = \"..\"`, `yields = ..`, `undoes = ..`, `name = \"..\"`, \
                             `schema` or `crate = ..`";
                        return Err(meta.error(wanted));
                    }
                }
                Ok(())
            })?;
        }
        Ok(options)
    }

    /// Returns `payment.charge`, or `charge` for a message without a participant.
    fn name(&self, message: &Ident) -> Result<String> {
        let own = kebab_case(&message.unraw().to_string());
        let name = match (&self.name, &self.to) {
            (Some(name), _) => name.value(),
            (None, Some(to)) => format!("{}.{own}", to.value()),
            (None, None) => own,
        };
        legal(LitStr::new(&name, message.span()))?;
        Ok(name)
    }
}

/// Applies the core's rule at compile time instead of at the program's start.
fn legal(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let first = text.starts_with(|letter: char| letter.is_ascii_lowercase());
    let rest = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    if first && rest && text.len() <= 100 {
        return Ok(name);
    }
    Err(Error::new(
        name.span(),
        format!("`{text}` is not a name: use a-z, 0-9, '-' and '.', a letter first, 100 at most"),
    ))
}

fn members(input: &DeriveInput) -> Result<Vec<Member<'_>>> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a message has no type parameters or lifetimes: own its data",
        ));
    }
    let wanted = "a message is a struct with named fields, or a unit struct";
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            format!("{wanted}: put the enum into a field of a message"),
        ));
    };
    match &data.fields {
        Fields::Unit => Ok(Vec::new()),
        Fields::Named(named) => Ok(named.named.iter().filter_map(member).collect()),
        Fields::Unnamed(_) => {
            Err(Error::new_spanned(&data.fields, format!("{wanted}: give each field a name")))
        }
    }
}

fn member(field: &Field) -> Option<Member<'_>> {
    let ident = field.ident.as_ref()?;
    Some(Member {
        ident,
        holds: &field.ty,
        vis: &field.vis,
        wire: camel_case(&ident.unraw().to_string()),
        attributes: &field.attrs,
    })
}

/// Derives serde on a hidden struct with the same fields. With `remote` the derived code reads and
/// writes the message type.
fn serde(message: &Ident, members: &[Member<'_>], root: &Root) -> TokenStream {
    let serde = quote!(#root::serde).to_string();
    let remote = message.to_string();
    let fields = members.iter().map(|Member { ident, holds, wire, .. }| {
        quote! { #[serde(rename = #wire)] #ident: #holds }
    });
    quote! {
        const _: () = {
            use #root::serde;

            #[derive(serde::Serialize, serde::Deserialize)]
            #[serde(crate = #serde, remote = #remote)]
            struct Wire { #(#fields),* }

            #[automatically_derived]
            impl serde::Serialize for #message {
                fn serialize<S: serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    Wire::serialize(self, serializer)
                }
            }

            #[automatically_derived]
            impl<'de> serde::Deserialize<'de> for #message {
                fn deserialize<D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    Wire::deserialize(deserializer)
                }
            }
        };
    }
}

/// Returns the struct of references and its impl. A message without fields is its own mirror.
fn mirror(input: &DeriveInput, members: &[Member<'_>], root: &Root) -> (Ident, TokenStream) {
    let (message, vis) = (&input.ident, &input.vis);
    let from = if members.is_empty() { message.clone() } else { format_ident!("{}From", message) };
    let declared = (!members.is_empty()).then(|| {
        let doc = format!("The fields of [`{message}`] as references.");
        let fields = members.iter().map(|Member { ident, holds, vis, .. }| {
            quote! { #vis #ident: #root::Ref<#holds> }
        });
        quote! {
            #[doc = #doc]
            #[allow(missing_docs, dead_code)]
            #[derive(Clone, Copy)]
            #vis struct #from { #(#fields),* }
        }
    });
    let ident: Vec<_> = members.iter().map(|member| member.ident).collect();
    let wire: Vec<_> = members.iter().map(|member| &member.wire).collect();
    let mirror = quote! {
        #declared

        #[automatically_derived]
        impl #root::Mirror for #from {
            type Of = #message;
            const FIELDS: &'static [&'static str] = &[#(#wire),*];

            fn of(_source: #root::Origin) -> Self {
                Self { #(#ident: #root::Ref::new(_source, #wire)),* }
            }

            fn into_fields(self) -> ::std::collections::BTreeMap<&'static str, #root::Field> {
                ::std::collections::BTreeMap::from([#((#wire, self.#ident.field())),*])
            }
        }
    };
    (from, mirror)
}

/// Returns the method of `Message` and the impl of `JsonSchema` of a message with a schema.
fn schema(
    message: &Ident,
    members: &[Member<'_>],
    options: &Options,
) -> Result<(TokenStream, TokenStream)> {
    let root = &options.root;
    let mut fields = Vec::with_capacity(members.len());
    for Member { holds, wire, attributes, .. } in members {
        let keywords = keywords(attributes, root)?;
        if let (Some(keyword), false) = (keywords.first(), options.schema) {
            let wanted = "a field has keywords only in a message with `#[message(schema)]`";
            return Err(Error::new_spanned(&keyword.name, wanted));
        }
        let is_complete = keywords.iter().any(|keyword| keyword.wire == "type");
        let (optional, own) = match is_complete {
            true => {
                (quote!(false), quote!(#root::Value::Object(::core::default::Default::default())))
            }
            false => (
                quote!(<#holds as #root::JsonSchema>::OPTIONAL),
                quote!(<#holds as #root::JsonSchema>::json_schema()),
            ),
        };
        let keywords = keywords.iter().map(|Keyword { wire, value, .. }| quote!((#wire, #value)));
        fields.push(quote! {
            #root::FieldSchema {
                name: #wire,
                optional: #optional,
                schema: #own,
                keywords: ::std::vec![#(#keywords),*],
            }
        });
    }
    if !options.schema {
        return Ok((TokenStream::new(), TokenStream::new()));
    }
    let method = quote! {
        fn schema() -> ::core::option::Option<#root::Value> {
            ::core::option::Option::Some(<Self as #root::JsonSchema>::json_schema())
        }
    };
    let described = quote! {
        #[automatically_derived]
        impl #root::JsonSchema for #message {
            fn json_schema() -> #root::Value {
                #root::of_fields(::std::vec![#(#fields),*])
            }
        }
    };
    Ok((method, described))
}

/// A keyword of a field's schema: `max_length = 40` is `maxLength`.
struct Keyword {
    name: Path,
    wire: String,
    value: TokenStream,
}

/// Returns the keywords in the attributes of a field.
fn keywords(attributes: &[Attribute], root: &Root) -> Result<Vec<Keyword>> {
    let mut keywords = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("message")) {
        attribute.parse_nested_meta(|meta| {
            let Some(name) = meta.path.get_ident() else {
                return Err(meta.error("write a keyword of JSON Schema: `max_length = 40`"));
            };
            let wire = camel_case(&name.unraw().to_string());
            let input = meta.value()?;
            let minus: Option<Token![-]> = input.parse()?;
            let value: Lit = input.parse()?;
            let value = match value {
                Lit::Int(value) => {
                    let digits = value.base10_digits();
                    let sign = if minus.is_some() { "-" } else { "" };
                    let parsed = format!("{sign}{digits}").parse::<i64>();
                    let value = parsed.map_err(|why| Error::new(value.span(), why))?;
                    quote!(#root::Value::from(#value))
                }
                value => quote!(#root::Value::from(#minus #value)),
            };
            keywords.push(Keyword { name: meta.path, wire, value });
            Ok(())
        })?;
    }
    Ok(keywords)
}

/// Returns the impl of `Action` or `Undoes`, or nothing.
fn role(message: &Ident, options: &Options) -> Result<TokenStream> {
    let root = &options.root;
    match (&options.to, &options.yields, &options.undoes) {
        (Some(to), yields, None) => {
            let yields = yields.as_ref().map_or_else(|| quote! { () }, |yields| quote! { #yields });
            Ok(quote! {
                #[automatically_derived]
                impl #root::Action for #message {
                    const PARTICIPANT: &'static str = #to;
                    type Output = #yields;
                }
            })
        }
        (Some(to), None, Some(action)) => {
            let elsewhere = format!(
                "`{message}` undoes an action of another participant: `to` must be the same"
            );
            Ok(quote! {
                #[automatically_derived]
                impl #root::Undoes for #message {
                    type Action = #action;
                }
                const _: () = ::core::assert!(
                    #root::same(<#action as #root::Action>::PARTICIPANT, #to),
                    #elsewhere
                );
            })
        }
        (None, None, None) => Ok(TokenStream::new()),
        (_, Some(_), _) | (_, _, Some(_)) => Err(Error::new_spanned(
            message,
            "write `to = \"..\"` and either `yields = Output` or `undoes = Action`",
        )),
    }
}

/// Converts `ChargeCard` to `charge-card`.
fn kebab_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// Converts `amount_cents` to `amountCents`.
fn camel_case(name: &str) -> String {
    let (mut text, mut begins) = (String::with_capacity(name.len()), false);
    for letter in name.chars() {
        match letter {
            '_' => begins = !text.is_empty(),
            letter if std::mem::take(&mut begins) => text.push(letter.to_ascii_uppercase()),
            letter => text.push(letter),
        }
    }
    text
}

//! The path by which the generated code finds the crate.

use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::{Path, Result, parse_quote};

/// The path of the crate `sagamore`, as the user's crate sees it.
pub struct Root(Path);

impl Default for Root {
    fn default() -> Root {
        Root(parse_quote!(::sagamore))
    }
}

impl Root {
    /// Parses the value of `crate = ..`.
    pub fn read(meta: &ParseNestedMeta<'_>) -> Result<Root> {
        Ok(Root(meta.value()?.call(Path::parse_mod_style)?))
    }
}

/// Appends the path of the module with all items that the generated code refers to.
impl ToTokens for Root {
    fn to_tokens(&self, tokens: &mut proc_macro2::TokenStream) {
        let root = &self.0;
        tokens.extend(quote!(#root::__private));
    }
}

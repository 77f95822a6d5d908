//! `#[async_handler(webhook = …)]`: arguments and function are parsed, checked, expanded.

mod args;
mod check;
mod expand;
mod shape;
mod user_expr;

use proc_macro2::TokenStream;
use quote::quote;

use self::args::Args;
use crate::diagnostics::gather;
use crate::item::Item;

/// The function with its body watched; after a mistake the function as it was, and the mistakes behind it.
pub(crate) fn async_handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    let expanded = gather(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "async_handler", errors)?;
        let handler = check::check(args, item, errors)?;
        Some(expand::expand(&handler))
    });
    // The function comes first: editors map what is written to the first place that it appears in.
    expanded.unwrap_or_else(|errors| quote!(#item #errors))
}

#[cfg(test)]
mod tests;

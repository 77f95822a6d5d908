//! `#[async_handler(webhook = …)]`: arguments and function are parsed, checked, expanded.

mod announced;
mod args;
mod bindings;
mod check;
mod chosen;
mod expand;
mod plain;
mod rebound;
mod shape;
mod user_expr;
mod waits;

use proc_macro2::TokenStream;
use quote::quote;

use self::args::Args;
use crate::arguments::is_assigned;
use crate::diagnostics::gather;
use crate::item::{Item, is_expression};

/// The function with its body watched; after a mistake the function as it was, and the mistakes behind it.
pub(crate) fn async_handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    if is_assigned() {
        return item.clone();
    }
    let expanded = gather(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "async_handler", errors)?;
        let handler = check::check(args, item, errors)?;
        Some(expand::expand(&handler))
    });
    expanded.unwrap_or_else(|errors| {
        if is_expression(item) {
            // In the place of one expression there is no room for two.
            quote!({ #errors #item })
        } else {
            // The function comes first: editors map what is written to the first place that it appears in.
            quote!(#item #errors)
        }
    })
}

#[cfg(test)]
mod tests;

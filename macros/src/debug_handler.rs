//! `#[debug_handler]`: arguments and function are parsed, checked, and followed by questions to the compiler.

mod args;
mod check;
mod expand;

use proc_macro2::TokenStream;
use quote::quote;

use self::args::Args;
use crate::arguments::is_assigned;
use crate::diagnostics::gather;
use crate::item::Item;

/// The function as it was, and behind it what tells the mistakes: this attribute never changes anything.
pub(crate) fn debug_handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    if is_assigned() {
        return item.clone();
    }
    let checks = gather(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "debug_handler", errors)?;
        let handler = check::check(args, &item, errors)?;
        Some(expand::expand(&handler))
    });
    let behind = checks.unwrap_or_else(|errors| errors);
    quote!(#item #behind)
}

#[cfg(test)]
mod tests;

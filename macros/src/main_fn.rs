//! `#[postback::main]`: arguments and function are parsed, checked, expanded.

mod args;
mod check;
mod expand;

use proc_macro2::TokenStream;

use self::args::Args;
use crate::arguments::is_assigned;
use crate::diagnostics::gather;
use crate::item::Item;

/// The function and a `main` that starts it; after a mistake the function, the mistakes, and a `main` all the same.
pub(crate) fn main_fn(args: TokenStream, item: &TokenStream) -> TokenStream {
    if is_assigned() {
        return expand::expand_mistaken(item, &TokenStream::new());
    }
    let expanded = gather(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "postback::main", errors)?;
        let main = check::check(args, item, errors)?;
        Some(expand::expand(&main))
    });
    expanded.unwrap_or_else(|errors| expand::expand_mistaken(item, &errors))
}

#[cfg(test)]
mod tests;

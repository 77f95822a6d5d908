//! Expands `#[debug_handler]` in three steps: parse the arguments and the function, check them, and generate code
//! after the function that makes the compiler check the function's types.

mod args;
mod check;
mod expand;

use proc_macro2::TokenStream;
use quote::quote;

use self::args::Args;
use crate::arguments::is_name_value;
use crate::diagnostics::collect_errors;
use crate::item::Item;

/// Expands the attribute `debug_handler`. Returns the unchanged function, followed by the errors, or by code that makes
/// the compiler check the function's types.
pub(crate) fn debug_handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    if is_name_value() {
        return item.clone();
    }
    let checks = collect_errors(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "debug_handler", errors)?;
        let handler = check::check(args, &item, errors)?;
        Some(expand::expand(&handler))
    });
    let checks_or_errors = checks.unwrap_or_else(|errors| errors);
    quote!(#item #checks_or_errors)
}

#[cfg(test)]
mod tests;

//! Expands `#[async_handler(webhook = …)]` in three steps: parse the arguments and the function, check them, generate
//! the code.

mod announcement;
mod args;
mod awaits;
mod bindings;
mod check;
mod expand;
mod impl_trait;
mod purity;
mod rebinding;
mod spans;
mod tokens;
mod user_expr;
mod watched_future;
mod webhook_inputs;

use proc_macro2::TokenStream;
use quote::quote;

use self::args::Args;
use crate::arguments::is_name_value;
use crate::diagnostics::collect_errors;
use crate::item::{Item, is_expression};

/// Expands the attribute `async_handler`. Returns the user's function with a generated body that reports the function's
/// outcome. If the user's code has a mistake, returns the unchanged function and the errors.
pub(crate) fn async_handler(args: TokenStream, item: &TokenStream) -> TokenStream {
    if is_name_value() {
        return item.clone();
    }
    let expanded = collect_errors(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "async_handler", errors)?;
        let handler = check::check(args, item, errors)?;
        Some(expand::expand(&handler))
    });
    expanded.unwrap_or_else(|errors| {
        if is_expression(item) {
            // If the attribute stands on an expression, the expansion must be one expression. So the expansion is a
            // block that contains the errors and the user's expression.
            quote!({ #errors #item })
        } else {
            // The errors have the same source locations as the user's tokens. For each source location, an editor uses
            // the first token in the expansion. So the function comes first, and the editor uses the function's tokens.
            quote!(#item #errors)
        }
    })
}

#[cfg(test)]
mod tests;

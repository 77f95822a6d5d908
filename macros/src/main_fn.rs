//! Expands `#[postback::main]` in three steps: parse the arguments and the function, check them, generate the code.

mod args;
mod check;
mod expand;

use proc_macro2::TokenStream;

use self::args::Args;
use crate::arguments::is_name_value;
use crate::diagnostics::collect_errors;
use crate::item::Item;

/// Expands the attribute `main`. Returns the user's function, and a `main` that starts the program with the user's
/// function. If the user's code has a mistake, returns the function, the errors, and a `main` that does nothing.
pub(crate) fn main_fn(args: TokenStream, item: &TokenStream) -> TokenStream {
    if is_name_value() {
        return expand::expand_with_errors(item, &TokenStream::new());
    }
    let expanded = collect_errors(|errors| {
        let args = Args::parse(args, errors);
        let item = Item::parse(item.clone(), "postback::main", errors)?;
        let main = check::check(args, item, errors)?;
        Some(expand::expand(&main))
    });
    expanded.unwrap_or_else(|errors| expand::expand_with_errors(item, &errors))
}

#[cfg(test)]
mod tests;

//! The attributes of the crate `postback`; use them from there. No policy is in here: what is generated is a few calls
//! into the runtime.
//!
//! Everything but this page works on `proc_macro2`, so that it can be tested without a compiler around it.

mod arguments;
mod async_handler;
mod debug_handler;
mod diagnostics;
mod item;
mod main_fn;
mod paths;
#[cfg(test)]
mod testing;

use proc_macro::TokenStream;

/// Reports by webhook what becomes of each call of an `async fn`. See `postback::async_handler`.
#[proc_macro_attribute]
pub fn async_handler(args: TokenStream, item: TokenStream) -> TokenStream {
    async_handler::async_handler(args.into(), &item.into()).into()
}

/// Says why a function does not fit `App::route`. See `postback::debug_handler`.
#[proc_macro_attribute]
pub fn debug_handler(args: TokenStream, item: TokenStream) -> TokenStream {
    debug_handler::debug_handler(args.into(), &item.into()).into()
}

/// Makes an `async fn` that returns an `App` the program's `main`. See `postback::main`.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::main_fn(args.into(), &item.into()).into()
}

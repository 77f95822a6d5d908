//! The attributes of the crate `postback`. Use them from `postback`, not from this crate.
//!
//! This crate makes no policy decisions: the generated code is a few calls into the runtime crate.
//!
//! Only this file uses the compiler's `proc_macro` types. All other files use `proc_macro2`, so unit tests can call
//! them outside the compiler.

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

/// Reports the outcome of each call of an `async fn` by webhook. The documentation is at `postback::async_handler`.
#[proc_macro_attribute]
pub fn async_handler(args: TokenStream, item: TokenStream) -> TokenStream {
    async_handler::async_handler(args.into(), &item.into()).into()
}

/// Explains why a function cannot be given to `App::route`. The documentation is at `postback::debug_handler`.
#[proc_macro_attribute]
pub fn debug_handler(args: TokenStream, item: TokenStream) -> TokenStream {
    debug_handler::debug_handler(args.into(), &item.into()).into()
}

/// Turns an `async fn` that returns an `App` into the `main` function of the program. The documentation is at
/// `postback::main`.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::main_fn(args.into(), &item.into()).into()
}

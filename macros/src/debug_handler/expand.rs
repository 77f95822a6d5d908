//! Generates code that makes the compiler check the function's types. The compiler marks each error on one of the
//! user's words.
//!
//! ```text
//! const _: fn() = || {
//!     ::postback::__private::check::parameter_with::<PARAMETER, SETTINGS>();
//!     let _ = |a, …| {
//!         let future = NAME(a, …);
//!         ::postback::__private::check::output(&future);
//!         ::postback::__private::check::send(&future);
//!     };
//! };
//! ```
//!
//! The closures are never called, so the compiled program contains none of this code.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};

use super::check::{Handler, Parameter};

/// Generates the code that makes the compiler check the types of a function. The code is placed after the function.
pub(crate) fn expand(handler: &Handler) -> TokenStream {
    let cfgs = &handler.cfgs;
    let parameters = handler.parameters.iter().map(|parameter| parameter_check(handler, parameter));
    let future = future_check(handler);
    quote_spanned! {Span::mixed_site()=>
        #(#cfgs)*
        const _: fn() = || {
            #(#parameters)*
            #future
        };
    }
}

/// Generates a call with which the compiler checks that a handler can have a parameter of the given type.
fn parameter_check(handler: &Handler, parameter: &Parameter) -> TokenStream {
    let private = handler.runtime.private();
    let Parameter { cfgs, ty } = parameter;
    let call = handler.settings.as_ref().map_or_else(
        || quote_spanned!(Span::mixed_site()=> parameter::<#ty>()),
        |settings| quote_spanned!(Span::mixed_site()=> parameter_with::<#ty, #settings>()),
    );
    quote_spanned!(Span::mixed_site()=> #(#cfgs)* #private::check::#call;)
}

/// Generates the code with which the compiler checks the future that the user's function returns. A closure calls the
/// user's function and gives its own parameters as arguments. The closure itself is never called, so no values are
/// needed.
fn future_check(handler: &Handler) -> TokenStream {
    // If a parameter has a `#[cfg]`, the future is not checked, because Rust does not allow a `#[cfg]` on an argument
    // of a call.
    if handler.parameters.iter().any(|parameter| !parameter.cfgs.is_empty()) {
        return TokenStream::new();
    }
    let private = handler.runtime.private();
    let name = &handler.name;
    let arguments: Vec<_> =
        (0..handler.parameters.len()).map(|i| format_ident!("__{i}", span = Span::mixed_site())).collect();
    // If a check fails, the compiler marks the argument of the check. So the arguments are placed at the return type
    // and at the name of the user's function.
    let at_return_type = borrowed_future_at(handler.returns.to_token_stream());
    let at_name = borrowed_future_at(name.to_token_stream());
    quote_spanned! {Span::mixed_site()=>
        let _ = |#(#arguments),*| {
            let __future = #name(#(#arguments),*);
            #private::check::output(#at_return_type);
            #private::check::send(#at_name);
        };
    }
}

/// Generates the expression `&__future` at the location of `tokens`, from the first to the last token.
fn borrowed_future_at(tokens: TokenStream) -> TokenStream {
    let span = |token: Option<TokenTree>| {
        token.map_or_else(Span::mixed_site, |token| token.span().resolved_at(Span::mixed_site()))
    };
    let (first, last) = (span(tokens.clone().into_iter().next()), span(tokens.into_iter().last()));
    let future = Ident::new("__future", last);
    quote_spanned!(first=> &#future)
}

//! The generated code: questions to the compiler, each of which has its answer on a word of the user's.
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
//! The closures are never called, so nothing of it is in the program.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};

use super::check::{Handler, Parameter};

/// What stands behind the function.
pub(crate) fn expand(handler: &Handler) -> TokenStream {
    let cfgs = &handler.cfgs;
    let parameters = handler.parameters.iter().map(|parameter| asked(handler, parameter));
    let future = future(handler);
    quote_spanned! {Span::mixed_site()=>
        #(#cfgs)*
        const _: fn() = || {
            #(#parameters)*
            #future
        };
    }
}

fn asked(handler: &Handler, parameter: &Parameter) -> TokenStream {
    let private = handler.runtime.private();
    let Parameter { cfgs, of } = parameter;
    let call = handler.settings.as_ref().map_or_else(
        || quote_spanned!(Span::mixed_site()=> parameter::<#of>()),
        |settings| quote_spanned!(Span::mixed_site()=> parameter_with::<#of, #settings>()),
    );
    quote_spanned!(Span::mixed_site()=> #(#cfgs)* #private::check::#call;)
}

/// The questions about a call, whose arguments are those of a closure: there are no values, and none are needed.
fn future(handler: &Handler) -> TokenStream {
    // Attributes are not allowed on the arguments of a call.
    if handler.parameters.iter().any(|parameter| !parameter.cfgs.is_empty()) {
        return TokenStream::new();
    }
    let private = handler.runtime.private();
    let name = &handler.name;
    let arguments: Vec<_> =
        (0..handler.parameters.len()).map(|i| format_ident!("__{i}", span = Span::mixed_site())).collect();
    // What is wrong is marked on the argument: the return type, and the name of the function.
    let returned = lent(handler.returns.to_token_stream());
    let called = lent(name.to_token_stream());
    quote_spanned! {Span::mixed_site()=>
        let _ = |#(#arguments),*| {
            let __future = #name(#(#arguments),*);
            #private::check::output(#returned);
            #private::check::send(#called);
        };
    }
}

/// `&__future`, in the place of these tokens from the first to the last.
fn lent(place: TokenStream) -> TokenStream {
    let span = |token: Option<TokenTree>| {
        token.map_or_else(Span::mixed_site, |token| token.span().resolved_at(Span::mixed_site()))
    };
    let (first, last) = (span(place.clone().into_iter().next()), span(place.into_iter().last()));
    let future = Ident::new("__future", last);
    quote_spanned!(first=> &#future)
}

//! Generates the user's function and a `main` that gives the function to the runtime.
//!
//! ```text
//! async fn app(settings: Settings) -> App<Settings> { … }
//!
//! fn main() -> ::postback::__private::ExitCode {
//!     ::postback::__private::start(::postback::__private::Program::new(…), app)
//! }
//! ```
//!
//! If the user's function has the name `main`, it is placed inside the generated `main`.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};

use super::check::MainFunction;

/// The number of tokens in `->`.
const RETURN_ARROW_TOKENS: usize = 2;

/// Generates the `main` of the program. If the user's function has the name `main`, the generated `main` contains the
/// user's function. Otherwise the user's function stands before the generated `main`.
pub(crate) fn expand(main: &MainFunction) -> TokenStream {
    let function = function(main);
    let start = start_call(main);
    let private = main.runtime.private();
    if is_main(&main.item.signature.ident) {
        return quote_spanned! {Span::mixed_site()=>
            fn main() -> #private::ExitCode {
                #function
                #start
            }
        };
    }
    let generated = quote_spanned! {Span::mixed_site()=>
        fn main() -> #private::ExitCode {
            #start
        }
    };
    quote!(#function #generated)
}

/// Generates the expansion if the user's code has a mistake. The expansion has exactly one `main`, because the compiler
/// would report a missing `main` as one more error.
pub(crate) fn expand_with_errors(item: &TokenStream, errors: &TokenStream) -> TokenStream {
    match FunctionStart::of(item) {
        FunctionStart { is_main: true, is_async: true } => quote! {
            fn main() {
                #item
                // This statement uses the user's `main`, so that the compiler does not warn of an unused function.
                _ = main;
            }
            #errors
        },
        FunctionStart { is_main: true, is_async: false } => quote!(#item #errors),
        FunctionStart { is_main: false, .. } => quote!(#item #errors fn main() {}),
    }
}

/// Returns the user's function, unchanged.
fn function(main: &MainFunction) -> TokenStream {
    let (head, body) = (&main.item.head, main.body.as_written());
    quote!(#head #body)
}

/// Generates the call that starts the program. The generated code uses `env!` to get the program's name and version,
/// because the generated code is compiled in the user's crate. In the runtime, `env!` would return the name and version
/// of the runtime.
fn start_call(main: &MainFunction) -> TokenStream {
    let private = main.runtime.private();
    let name = &main.item.signature.ident;
    let start = if main.takes_settings { "start" } else { "start_without_settings" };
    let worker_threads = main.worker_threads.as_ref().map(|n| quote_spanned!(Span::mixed_site()=> .worker_threads(#n)));
    // The call is placed at the location of the return type, so that the compiler marks the return type if the runtime
    // does not accept this type.
    let returns = main.item.signature.output.to_token_stream().into_iter().skip(RETURN_ARROW_TOKENS);
    let places: Vec<_> = returns.map(|token| token.span()).collect();
    let place = |span: Option<&Span>| Span::mixed_site().located_at(span.copied().unwrap_or_else(Span::mixed_site));
    let (first, last) = (place(places.first()), place(places.last()));
    let path = main.runtime.private_at(first);
    let arguments = quote_spanned! {Span::mixed_site()=>
        #private::Program::new(::core::env!("CARGO_CRATE_NAME"), ::core::env!("CARGO_PKG_VERSION")) #worker_threads,
        #name,
    };
    let mut arguments = Group::new(Delimiter::Parenthesis, arguments);
    arguments.set_span(last);
    let start = Ident::new(start, last);
    quote_spanned!(first=> #path::#start #arguments)
}

fn is_main(ident: &Ident) -> bool {
    ident == "main"
}

/// Facts about the user's function that its first words show. The first words can be read even if the rest of the
/// function has a syntax error.
struct FunctionStart {
    is_main: bool,
    is_async: bool,
}

impl FunctionStart {
    fn of(item: &TokenStream) -> Self {
        let (mut is_async, mut after_fn) = (false, false);
        for token in item.to_token_stream() {
            match token {
                TokenTree::Ident(ident) if after_fn => return Self { is_main: is_main(&ident), is_async },
                TokenTree::Ident(ident) if ident == "async" => is_async = true,
                TokenTree::Ident(ident) if ident == "fn" => after_fn = true,
                _ => {}
            }
        }
        Self { is_main: false, is_async }
    }
}

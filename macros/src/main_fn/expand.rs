//! The generated code: the user's function, and a `main` that gives it to the runtime.
//!
//! ```text
//! async fn app(settings: Settings) -> App<Settings> { … }
//!
//! fn main() -> ::postback::__private::ExitCode {
//!     ::postback::__private::start(::postback::__private::Program::new(…), app)
//! }
//! ```
//!
//! A function that is itself called `main` stands inside of the generated one.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};

use super::check::Main;

/// The tokens of `->`.
const RETURN_ARROW: usize = 2;

/// The function and the `main` around it or behind it.
pub(crate) fn expand(main: &Main) -> TokenStream {
    let function = function(main);
    let start = start(main);
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

/// After a mistake there still is exactly one `main`: its absence would only be one error more.
pub(crate) fn expand_mistaken(item: &TokenStream, errors: &TokenStream) -> TokenStream {
    match Head::of(item) {
        Head { is_main: true, is_async: true } => quote! {
            fn main() {
                #item
                // Named, so that nobody calls it unused.
                _ = main;
            }
            #errors
        },
        Head { is_main: true, is_async: false } => quote!(#item #errors),
        Head { is_main: false, .. } => quote!(#item #errors fn main() {}),
    }
}

fn function(main: &Main) -> TokenStream {
    let (head, body) = (&main.item.head, main.body.whole());
    quote!(#head #body)
}

/// Name and version are those of the user's program, so they are asked for in the user's code.
fn start(main: &Main) -> TokenStream {
    let private = main.runtime.private();
    let name = &main.item.signature.ident;
    let start = if main.takes_settings { "start" } else { "start_without_settings" };
    let worker_threads = main.worker_threads.as_ref().map(|n| quote_spanned!(Span::mixed_site()=> .worker_threads(#n)));
    // The call stands in the place of the return type: there is marked what the runtime cannot take.
    let returns = main.item.signature.output.to_token_stream().into_iter().skip(RETURN_ARROW);
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

/// What can be seen of a function that may be wrong in any way.
struct Head {
    is_main: bool,
    is_async: bool,
}

impl Head {
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

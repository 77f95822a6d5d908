//! Makes the path that generated code uses for items of the runtime crate, usually `::postback::__private`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::Path;

/// The path of the crate `postback` in the user's program: the value of the argument `crate`, or `None` for
/// `::postback`.
pub(crate) struct RuntimeCrate(Option<Path>);

impl RuntimeCrate {
    /// Keeps the value of the argument `crate`. `None` means `::postback`.
    pub(crate) fn new(given: Option<Path>) -> Self {
        Self(given)
    }

    /// Returns the path of the module `__private`, which re-exports every item that generated code may name.
    pub(crate) fn private(&self) -> TokenStream {
        self.0.as_ref().map_or_else(
            || quote_spanned!(Span::mixed_site()=> ::postback::__private),
            |path| quote_spanned!(Span::mixed_site()=> #path::__private),
        )
    }

    /// Returns the path of the module `__private`, placed at `location`, which is the source location of a token of the
    /// user. If the compiler finds an error in a call with this path, it shows the error at that token.
    pub(crate) fn private_at(&self, location: Span) -> TokenStream {
        let relocate = |mut token: TokenTree| {
            token.set_span(token.span().located_at(location));
            token
        };
        self.private().into_iter().map(relocate).collect()
    }
}

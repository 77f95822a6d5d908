//! Makes the path that generated code uses for items of the runtime crate, usually `::postback::__private`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::Path;

/// The path of the crate `postback` in the user's program: the value of the argument `crate`, or `None` for
/// `::postback`.
pub(crate) struct RuntimeCrate(Option<Path>);

impl RuntimeCrate {
    /// Makes a path from the value of the argument `crate`. `None` means `::postback`.
    pub(crate) fn new(given: Option<Path>) -> Self {
        Self(given)
    }

    /// Returns the path of the module `__private`. This module re-exports every item of the runtime that generated code
    /// uses.
    pub(crate) fn private(&self) -> TokenStream {
        self.0.as_ref().map_or_else(
            || quote_spanned!(Span::mixed_site()=> ::postback::__private),
            |path| quote_spanned!(Span::mixed_site()=> #path::__private),
        )
    }

    /// Returns the path of the module `__private`, placed at the source location of a token of the user. If the
    /// compiler finds an error in a call with this path, the compiler shows the error at the user's token.
    pub(crate) fn private_at(&self, location: Span) -> TokenStream {
        let relocate = |mut token: TokenTree| {
            token.set_span(token.span().located_at(location));
            token
        };
        self.private().into_iter().map(relocate).collect()
    }
}

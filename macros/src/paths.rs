//! The path that generated code names things by.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::Path;

/// The crate that generated code speaks to.
pub(crate) struct Runtime(Option<Path>);

impl Runtime {
    /// `::postback`, unless the user said otherwise.
    pub(crate) fn new(given: Option<Path>) -> Self {
        Self(given)
    }

    /// Where all that generated code may name is re-exported.
    pub(crate) fn private(&self) -> TokenStream {
        self.0.as_ref().map_or_else(
            || quote_spanned!(Span::mixed_site()=> ::postback::__private),
            |path| quote_spanned!(Span::mixed_site()=> #path::__private),
        )
    }

    /// The same, in the place of a word of the user's: what is wrong with a call is marked on its path.
    pub(crate) fn private_at(&self, place: Span) -> TokenStream {
        let in_place = |mut token: TokenTree| {
            token.set_span(token.span().located_at(place));
            token
        };
        self.private().into_iter().map(in_place).collect()
    }
}

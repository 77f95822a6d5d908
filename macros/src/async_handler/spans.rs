//! Source locations for generated tokens. The compiler shows an error in generated code at the location of its tokens,
//! so these locations decide which of the user's words is marked.

use proc_macro2::{Delimiter, Group, Span, TokenStream};

/// The source locations of the first and the last token of a piece of the user's code.
pub(super) struct SpanRange {
    pub(super) first: Span,
    pub(super) last: Span,
}

impl SpanRange {
    /// Returns the locations of the first and the last of the tokens, with mixed-site hygiene. Generated tokens with
    /// these spans cannot refer to the user's variables.
    pub(super) fn of(tokens: &TokenStream) -> Self {
        let Self { first, last } = Self::with_user_hygiene(tokens);
        Self { first: first.resolved_at(Span::mixed_site()), last: last.resolved_at(Span::mixed_site()) }
    }

    /// Returns the locations of the first and the last of the tokens, with the user's hygiene. The compiler treats
    /// generated tokens with these spans as if the user had written them.
    pub(super) fn with_user_hygiene(tokens: &TokenStream) -> Self {
        let first = tokens.clone().into_iter().next();
        let last = tokens.clone().into_iter().last();
        Self {
            first: first.map_or_else(Span::mixed_site, |token| token.span()),
            last: last.map_or_else(Span::mixed_site, |token| token.span()),
        }
    }
}

/// Changes the location of all tokens to `location`. The hygiene of the tokens stays the same, so a `$crate` still
/// names the crate that defines its macro.
pub(super) fn relocated(tokens: TokenStream, location: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(token.span().located_at(location));
            token
        })
        .collect()
}

/// Makes a group of tokens with the given delimiter and span.
pub(super) fn group(delimiter: Delimiter, tokens: TokenStream, span: Span) -> Group {
    let mut group = Group::new(delimiter, tokens);
    group.set_span(span);
    group
}

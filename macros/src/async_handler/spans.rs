//! Source locations for generated tokens. The compiler shows an error in generated code at the location of its tokens,
//! so these locations decide which of the user's words is marked.

use proc_macro2::{Delimiter, Group, Span, TokenStream};

/// The locations of the first and of the last token in a part of the user's code.
pub(super) struct SpanRange {
    pub(super) first: Span,
    pub(super) last: Span,
}

impl SpanRange {
    /// Returns the range for generated tokens that must not refer to the user's variables. For that, its spans have
    /// mixed-site hygiene.
    pub(super) fn of(tokens: &TokenStream) -> Self {
        let Self { first, last } = Self::with_user_hygiene(tokens);
        Self { first: first.resolved_at(Span::mixed_site()), last: last.resolved_at(Span::mixed_site()) }
    }

    /// Returns the range for generated tokens that the compiler must treat as written by the user. For that, its spans
    /// keep the user's hygiene.
    pub(super) fn with_user_hygiene(tokens: &TokenStream) -> Self {
        let first = tokens.clone().into_iter().next();
        let last = tokens.clone().into_iter().last();
        Self {
            first: first.map_or_else(Span::mixed_site, |token| token.span()),
            last: last.map_or_else(Span::mixed_site, |token| token.span()),
        }
    }
}

/// Moves all tokens to one location. The tokens keep their hygiene, so a `$crate` among them still names the crate of
/// its macro.
pub(super) fn relocated(tokens: TokenStream, location: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(token.span().located_at(location));
            token
        })
        .collect()
}

/// Makes a group with this delimiter and this span.
pub(super) fn group(delimiter: Delimiter, tokens: TokenStream, span: Span) -> Group {
    let mut group = Group::new(delimiter, tokens);
    group.set_span(span);
    group
}

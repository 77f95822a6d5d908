//! What is announced of an annotated function, to a server that routes to it.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::Attribute;

use super::check::Handler;
use super::chosen::Reads;
use super::plain::is_plain;

/// Attributes below this one that put no code before the body.
const INERT: [&str; 15] = [
    "allow",
    "cfg",
    "cold",
    "debug_handler",
    "deny",
    "deprecated",
    "doc",
    "expect",
    "forbid",
    "inline",
    "instrument",
    "must_use",
    "rustfmt",
    "track_caller",
    "warn",
];
/// Longer expressions are cut off.
const MOST_SHOWN: usize = 100;

/// The items that announce the function; they stand in it.
pub(super) fn announced(handler: &Handler, body_waits: bool) -> TokenStream {
    let private = handler.runtime.private();
    let asking = match (comes_first(handler), body_waits) {
        (false, _) => "Never",
        (true, true) => "Waits",
        (true, false) => "Unwinds",
    };
    let is_plain =
        matches!(handler.reads, Reads::Only(_)) && is_plain(&handler.webhook) && is_plain(&handler.request_id);
    let (asking, webhook) = (Ident::new(asking, Span::mixed_site()), shown(&handler.webhook));
    quote_spanned!(Span::mixed_site()=> #private::announce!(#asking #is_plain #webhook);)
}

/// Whether nothing happens in a call before its two expressions are evaluated.
fn comes_first(handler: &Handler) -> bool {
    handler.watched.around.is_none() && handler.item.attributes.iter().all(is_inert)
}

fn is_inert(attribute: &Attribute) -> bool {
    let path = &attribute.path().segments;
    let is = |name: &syn::PathSegment| INERT.iter().any(|known| name.ident == known);
    path.last().is_some_and(is) || path.first().is_some_and(|tool| tool.ident == "clippy" || tool.ident == "rustfmt")
}

/// The expression as a person would write it.
pub(super) fn shown(expression: &TokenStream) -> String {
    let mut text = String::new();
    write(expression.clone(), &mut text);
    if text.chars().count() > MOST_SHOWN {
        text = text.chars().take(MOST_SHOWN - 1).chain(['…']).collect();
    }
    text
}

fn write(tokens: TokenStream, text: &mut String) {
    let mut before: Option<TokenTree> = None;
    for token in tokens {
        if before.as_ref().is_some_and(|before| is_apart(before, &token)) {
            text.push(' ');
        }
        match &token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
            }
            other => text.push_str(&other.to_string()),
        }
        before = Some(token);
    }
}

/// Whether there is a space between the two.
fn is_apart(before: &TokenTree, token: &TokenTree) -> bool {
    const TIGHT: [char; 8] = ['.', ':', '&', '!', '?', '*', '<', '>'];
    match (before, token) {
        (TokenTree::Punct(before), _) if before.as_char() == ',' => true,
        (TokenTree::Punct(before), TokenTree::Punct(_)) if TIGHT.contains(&before.as_char()) => false,
        (TokenTree::Punct(before), _) => !TIGHT.contains(&before.as_char()),
        (_, TokenTree::Punct(punct)) => {
            !TIGHT.contains(&punct.as_char()) && punct.as_char() != ',' && punct.as_char() != ';'
        }
        (_, TokenTree::Group(group)) => {
            group.delimiter() == Delimiter::Brace
                || matches!(before, TokenTree::Ident(word) if KEYWORDS.iter().any(|keyword| word == keyword))
        }
        _ => true,
    }
}

const KEYWORDS: [&str; 6] = ["if", "in", "match", "return", "while", "else"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_shown_as_it_is_written() {
        for text in [
            "config.webhook_url",
            "&payload.callback",
            "headers.text(\"x-hook\")",
            "[&config.a, URL]",
            "Webhook::from_caller(&payload.hooks[0])",
            "format!(\"{}/{id}\", config.base)",
            "if payload.is_test { None } else { Some(&config.url) }",
        ] {
            assert_eq!(shown(&text.parse().unwrap()), text);
        }
        assert_eq!(shown(&"a.".repeat(200).parse().unwrap()).chars().count(), MOST_SHOWN);
    }
}

//! Generates the announcement of an annotated function. A server that has a route to the function reads the
//! announcement.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::Attribute;

use super::check::Handler;
use super::purity::is_pure;
use super::tokens::is_word;
use super::webhook_inputs::WebhookInputs;

/// The names of attributes that add no code to the beginning of a function's body. If other attributes stand below
/// `#[async_handler]`, they may add code that runs before the webhook expression.
const INERT_ATTRIBUTES: [&str; 15] = [
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
/// The largest length of an expression's text in an announcement, in characters. A longer text is cut off and ends in
/// `…`.
const MAX_EXPRESSION_CHARS: usize = 100;

/// Generates a call of the macro `announce!`, which tells servers about the annotated function. The macro call is
/// placed in the function's body. The macro expands only to items, such as statics, so a call of the function runs no
/// code of the macro.
pub(super) fn announcement(handler: &Handler, body_can_wait: bool) -> TokenStream {
    let private = handler.runtime.private();
    // How a server can evaluate the webhook expression without running the function's body. `ByDrop`: the body may
    // contain an `.await`, so it is a future, and the server drops this future before the body starts. `ByUnwind`: the
    // body contains no `.await`, so the runtime ends the call by a panic before the body starts, and the server catches
    // this panic. `Impossible`: a call of the function would run other code before the expression.
    let probe = match (is_webhook_evaluated_first(handler), body_can_wait) {
        (false, _) => "Impossible",
        (true, true) => "ByDrop",
        (true, false) => "ByUnwind",
    };
    let is_pure = matches!(handler.webhook_inputs, WebhookInputs::Parameters(_))
        && is_pure(&handler.webhook)
        && is_pure(&handler.request_id);
    // How much the expressions do. `Plain`: the webhook is a field, and the id is a parameter. `Pure`: they only read.
    let reads = match (is_pure, is_field(&handler.webhook) && is_name(&handler.request_id)) {
        (true, true) => "Plain",
        (true, false) => "Pure",
        (false, _) => "Impure",
    };
    let [probe, reads] = [probe, reads].map(|name| Ident::new(name, Span::mixed_site()));
    let webhook = source_text(&handler.webhook);
    quote_spanned!(Span::mixed_site()=> #private::announce!(#probe #reads #webhook);)
}

/// Whether the expression is a variable or a field of one, such as `config.webhook_url`.
fn is_field(expression: &TokenStream) -> bool {
    let is_part = |(at, token): (usize, TokenTree)| match token {
        TokenTree::Ident(_) => at % 2 == 0,
        TokenTree::Punct(punct) => at % 2 == 1 && punct.as_char() == '.',
        // The number of a field.
        TokenTree::Literal(_) => at > 0 && at % 2 == 0,
        TokenTree::Group(_) => false,
    };
    expression.clone().into_iter().enumerate().all(is_part)
}

/// Whether the expression is one variable.
fn is_name(expression: &TokenStream) -> bool {
    is_field(expression) && expression.clone().into_iter().count() == 1
}

/// Whether a call of the annotated function evaluates the expressions `webhook` and `request_id` before it runs any
/// other code.
fn is_webhook_evaluated_first(handler: &Handler) -> bool {
    handler.watched.wrapper.is_none() && handler.item.attributes.iter().all(is_inert)
}

fn is_inert(attribute: &Attribute) -> bool {
    let path = &attribute.path().segments;
    let is = |name: &syn::PathSegment| INERT_ATTRIBUTES.iter().any(|known| name.ident == known);
    path.last().is_some_and(is) || path.first().is_some_and(|tool| tool.ident == "clippy" || tool.ident == "rustfmt")
}

/// Returns an expression as text, with spaces where a person would write spaces.
fn source_text(expression: &TokenStream) -> String {
    let mut text = String::new();
    write_tokens(expression.clone(), &mut text);
    if text.chars().count() > MAX_EXPRESSION_CHARS {
        text = text.chars().take(MAX_EXPRESSION_CHARS - 1).chain(['…']).collect();
    }
    text
}

fn write_tokens(tokens: TokenStream, text: &mut String) {
    let mut before: Option<TokenTree> = None;
    for token in tokens {
        if before.as_ref().is_some_and(|before| needs_space(before, &token)) {
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
                write_tokens(group.stream(), text);
                text.push_str(close);
            }
            other => text.push_str(&other.to_string()),
        }
        before = Some(token);
    }
}

/// Whether the text of an expression has a space between the tokens `before` and `token`.
fn needs_space(before: &TokenTree, token: &TokenTree) -> bool {
    const WITHOUT_SPACES: [char; 8] = ['.', ':', '&', '!', '?', '*', '<', '>'];
    match (before, token) {
        (TokenTree::Punct(before), _) if before.as_char() == ',' => true,
        (TokenTree::Punct(before), TokenTree::Punct(_)) if WITHOUT_SPACES.contains(&before.as_char()) => false,
        (TokenTree::Punct(before), _) => !WITHOUT_SPACES.contains(&before.as_char()),
        (_, TokenTree::Punct(punct)) => {
            !WITHOUT_SPACES.contains(&punct.as_char()) && punct.as_char() != ',' && punct.as_char() != ';'
        }
        (_, TokenTree::Group(group)) => {
            group.delimiter() == Delimiter::Brace
                || KEYWORDS_BEFORE_SPACE.iter().any(|keyword| is_word(before, keyword))
        }
        _ => true,
    }
}

/// The keywords that are written with a space between the keyword and an opening parenthesis.
const KEYWORDS_BEFORE_SPACE: [&str; 6] = ["if", "in", "match", "return", "while", "else"];

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
            assert_eq!(source_text(&text.parse().unwrap()), text);
        }
        assert_eq!(source_text(&"a.".repeat(200).parse().unwrap()).chars().count(), MAX_EXPRESSION_CHARS);
    }
}

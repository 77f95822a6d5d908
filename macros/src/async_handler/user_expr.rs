//! Parses the expressions `webhook` and `request_id`, which run when the annotated function is called. The user writes
//! each of them as an expression, or as a string that contains the expression.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::{Expr, LitStr};

use super::tokens::is_punct;
use crate::arguments::{parser_message, value_ends};
use crate::diagnostics::Diagnostics;

/// Parses the expression that is the value of the argument `key`. If the expression is not allowed, adds an error and
/// returns `None`.
pub(crate) fn parse(input: ParseStream<'_>, key: &str, errors: &mut Diagnostics) -> syn::Result<Option<Expr>> {
    let expr = match expression_in_string(input)? {
        Some(text) => match parse_string(&text, key) {
            Ok(expr) => expr,
            Err(error) => {
                errors.add(error);
                return Ok(None);
            }
        },
        None => input.parse()?,
    };
    Ok(check(&expr, key, errors).then_some(expr))
}

/// Returns the string, if the whole value is one string, which contains the expression as text. Returns `None` if more
/// tokens follow the string, as in `"a".to_owned()`, because the value itself is then the expression.
fn expression_in_string(input: ParseStream<'_>) -> syn::Result<Option<LitStr>> {
    let ahead = input.fork();
    if ahead.parse::<LitStr>().is_ok() && value_ends(&ahead) { input.parse().map(Some) } else { Ok(None) }
}

fn parse_string(text: &LitStr, key: &str) -> syn::Result<Expr> {
    let value = text.value();
    if value.trim().is_empty() {
        let message =
            format!("the string is parsed as an expression, but it is empty; write `{key} = {}`", example(key));
        return Err(syn::Error::new(text.span(), message));
    }
    // A common mistake is `"https://…"`: the string is parsed as an expression, but a URL is not an expression. A URL
    // in such a string needs its own quotes inside the string: `"\"https://…\""`.
    if value.contains("://") && !value.contains('"') {
        let message = format!(
            "the string is parsed as an expression, but it is a URL; write the expression that holds the URL, for \
             example `{key} = {}`, or put the URL in a second pair of quotes: `{key} = {:?}`",
            example(key),
            format!("{value:?}")
        );
        return Err(syn::Error::new(text.span(), message));
    }
    // `LitStr::parse` gives every token of the expression the span and the hygiene of the string literal.
    text.parse().map_err(|error| {
        syn::Error::new(
            text.span(),
            format!("the string cannot be parsed as an expression: {}", parser_message(&error)),
        )
    })
}

/// Returns an example of an expression for the argument `key`. Error messages show the example.
pub(crate) fn example(key: &str) -> &'static str {
    if key == "webhook" { "config.webhook_url" } else { "request.id" }
}

/// Adds an error for each token that is not allowed in the expression. Returns `true` if all tokens are allowed.
fn check(expr: &Expr, key: &str, errors: &mut Diagnostics) -> bool {
    let mut found = Vec::new();
    find_forbidden(expr.to_token_stream(), false, &mut found);
    for (token, why) in &found {
        errors.on(token, format!("`{}` cannot be used in `{key}`: {why}", shown(token)));
    }
    found.is_empty()
}

fn shown(token: &TokenTree) -> String {
    match token {
        TokenTree::Ident(ident) if ident == "await" => ".await".to_owned(),
        other => other.to_string(),
    }
}

const LEAVES: &str = "the expression is evaluated before the function body, so there is nothing to return from or \
                      break out of; use `None` if there is no webhook, or compute the value before the call";
const WAITS: &str = "the expression is evaluated when the function is called, and cannot wait; use a value that is \
                     already known";

/// Finds tokens such as `return`, `?`, `break` and `.await`, which would return from the function, leave a loop around
/// the expression, or wait. These tokens are allowed inside closures and `async` blocks, because there they affect only
/// the closure or the block.
fn find_forbidden(tokens: TokenStream, in_loop: bool, found: &mut Vec<(TokenTree, &'static str)>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut preceding = Preceding::Operator;
    let mut loop_ahead = false;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '|' && preceding == Preceding::Operator => {
                skip_closure(&mut tokens);
                preceding = Preceding::Operator;
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == '|' && punct.spacing() == Spacing::Joint => {
                // This call skips the second `|` of the operator `||`, because the second `|` would look like the
                // beginning of a closure.
                tokens.next_if(|token| is_punct(token, '|'));
            }
            TokenTree::Punct(punct) if punct.as_char() == '?' => found.push((token.clone(), LEAVES)),
            TokenTree::Ident(ident) => match ident.to_string().as_str() {
                "return" => found.push((token.clone(), LEAVES)),
                "break" | "continue" if !in_loop => found.push((token.clone(), LEAVES)),
                "await" => found.push((token.clone(), WAITS)),
                "loop" | "while" | "for" => loop_ahead = true,
                "async" => {
                    skip_async_block(&mut tokens);
                    preceding = Preceding::Operand;
                    continue;
                }
                _ => {}
            },
            TokenTree::Group(group) => {
                let body_of_loop = loop_ahead && group.delimiter() == Delimiter::Brace;
                loop_ahead &= !body_of_loop;
                find_forbidden(group.stream(), in_loop || body_of_loop, found);
            }
            _ => {}
        }
        preceding = Preceding::after(&token);
    }
}

/// The kind of the token before a `|`. After an operand, a `|` is an operator. After an operator, or as the first
/// token, a `|` begins a closure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Preceding {
    /// An operator, a keyword before an expression (such as `return`), or no token.
    Operator,
    Operand,
}

impl Preceding {
    fn after(token: &TokenTree) -> Self {
        const KEYWORDS_BEFORE_CLOSURE: [&str; 7] = ["move", "static", "return", "break", "else", "in", "match"];
        match token {
            TokenTree::Ident(ident) if KEYWORDS_BEFORE_CLOSURE.iter().any(|word| ident == word) => Self::Operator,
            TokenTree::Punct(punct) if punct.as_char() != '?' => Self::Operator,
            _ => Self::Operand,
        }
    }
}

type Tokens = std::iter::Peekable<proc_macro2::token_stream::IntoIter>;

/// Skips the parameters and the body of a closure. The caller has already skipped the first `|`. The function stops at
/// the comma or semicolon after the body.
fn skip_closure(tokens: &mut Tokens) {
    tokens.find(|token| is_punct(token, '|'));
    while tokens.next_if(|token| !is_punct(token, ',') && !is_punct(token, ';')).is_some() {}
}

/// Skips the rest of an `async` block. The caller has already skipped the keyword `async`.
fn skip_async_block(tokens: &mut Tokens) {
    tokens.next_if(|token| matches!(token, TokenTree::Ident(ident) if ident == "move"));
    tokens.next_if(|token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(expr: &str) -> Vec<String> {
        let expr: Expr = syn::parse_str(expr).unwrap();
        let mut found = Vec::new();
        find_forbidden(expr.to_token_stream(), false, &mut found);
        found.iter().map(|(token, _)| token.to_string()).collect()
    }

    #[test]
    fn what_leaves_or_waits_is_found_wherever_it_stands() {
        assert_eq!(refused("config.url()?"), ["?"]);
        assert_eq!(refused("f(g(x?), [y?])"), ["?", "?"]);
        assert_eq!(refused("if a { return } else { b }"), ["return"]);
        assert_eq!(refused("match a { Some(a) => a, None => break }"), ["break"]);
        assert_eq!(refused("url().await"), ["await"]);
        assert_eq!(refused("format!(\"{}\", url?)"), ["?"]);
        assert_eq!(refused("(a | b?)"), ["?"]);
        assert_eq!(refused("a || b?"), ["?"]);
        assert_eq!(refused("f(|x| x?, y?)"), ["?"]);
    }

    #[test]
    fn closures_blocks_and_loops_of_their_own_may_hold_all_of_it() {
        for fine in [
            "urls.iter().map(|url| url.parse().ok()?).collect::<Vec<_>>()",
            "f(move || { return 1 })",
            "f(|a, (b, c)| -> Option<u8> { a? })",
            "spawn(async move { x().await })",
            "spawn(async { x?; y.await })",
            "loop { break 1 }",
            "{ let mut a = 0; while a < 1 { if b { break; } a += 1; } a }",
            "a[b | c]",
            "config.webhook_url",
        ] {
            assert!(refused(fine).is_empty(), "{fine}: {:?}", refused(fine));
        }
    }
}

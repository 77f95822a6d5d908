//! An expression of the user's that runs on entry of the function: bare, or in a string.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::{Expr, LitStr};

use crate::arguments::{said, value_ends};
use crate::diagnostics::Diagnostics;

/// Parses the value of `key`. `None` if it was wrong and that has been noted.
pub(crate) fn parse(input: ParseStream<'_>, key: &str, errors: &mut Diagnostics) -> syn::Result<Option<Expr>> {
    let expr = match string_form(input)? {
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

/// A string is the string form only where nothing follows it: `"a".to_owned()` is an expression.
fn string_form(input: ParseStream<'_>) -> syn::Result<Option<LitStr>> {
    let ahead = input.fork();
    if ahead.parse::<LitStr>().is_ok() && value_ends(&ahead) { input.parse().map(Some) } else { Ok(None) }
}

fn parse_string(text: &LitStr, key: &str) -> syn::Result<Expr> {
    let value = text.value();
    if value.trim().is_empty() {
        let message = format!("the string is read as an expression, and it is empty; write `{key} = {}`", example(key));
        return Err(syn::Error::new(text.span(), message));
    }
    // What people write first. A string that does hold an expression may hold a URL too, in quotes.
    if value.contains("://") && !value.contains('"') {
        let message = format!(
            "the string is read as an expression, and this one is a URL; name what holds it, as in \
             `{key} = {}`, or quote it once more: `{key} = {:?}`",
            example(key),
            format!("{value:?}")
        );
        return Err(syn::Error::new(text.span(), message));
    }
    // Keeps the span of the literal on every token, and its hygiene.
    text.parse().map_err(|error| {
        syn::Error::new(text.span(), format!("the string is read as an expression, and cannot be: {}", said(&error)))
    })
}

pub(crate) fn example(key: &str) -> &'static str {
    if key == "webhook" { "config.webhook_url" } else { "request.id" }
}

/// Notes what may not stand in the expression, and whether nothing was found.
fn check(expr: &Expr, key: &str, errors: &mut Diagnostics) -> bool {
    let mut found = Vec::new();
    scan(expr.to_token_stream(), false, &mut found);
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

const LEAVES: &str = "it is evaluated before the function's body, and there is nothing to leave; \
                      give `None` where there is no webhook, or compute the value before the call";
const WAITS: &str = "it is evaluated at once, on entry; give a value that is at hand";

/// Looks for what would leave the function or wait in it. Closures and `async` blocks may hold all of it: they leave and
/// wait for themselves.
fn scan(tokens: TokenStream, in_loop: bool, found: &mut Vec<(TokenTree, &'static str)>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut before = Before::Nothing;
    let mut loop_ahead = false;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '|' && before == Before::Nothing => {
                skip_closure(&mut tokens);
                before = Before::Nothing;
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == '|' && punct.spacing() == Spacing::Joint => {
                // The rest of `||`, which would look like the begin of a closure.
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
                    before = Before::Operand;
                    continue;
                }
                _ => {}
            },
            TokenTree::Group(group) => {
                let body_of_loop = loop_ahead && group.delimiter() == Delimiter::Brace;
                loop_ahead &= !body_of_loop;
                scan(group.stream(), in_loop || body_of_loop, found);
            }
            _ => {}
        }
        before = Before::after(&token);
    }
}

/// What stands before a `|`: after an operand it is an operator, else it begins a closure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Operand,
}

impl Before {
    fn after(token: &TokenTree) -> Self {
        const BEFORE_CLOSURES: [&str; 7] = ["move", "static", "return", "break", "else", "in", "match"];
        match token {
            TokenTree::Ident(ident) if BEFORE_CLOSURES.iter().any(|word| ident == word) => Self::Nothing,
            TokenTree::Punct(punct) if punct.as_char() != '?' => Self::Nothing,
            _ => Self::Operand,
        }
    }
}

type Tokens = std::iter::Peekable<proc_macro2::token_stream::IntoIter>;

/// Past the parameters and the body of a closure, whose first `|` is taken. A body goes on as far as an expression can.
fn skip_closure(tokens: &mut Tokens) {
    tokens.find(|token| is_punct(token, '|'));
    while tokens.next_if(|token| !is_punct(token, ',') && !is_punct(token, ';')).is_some() {}
}

fn skip_async_block(tokens: &mut Tokens) {
    tokens.next_if(|token| matches!(token, TokenTree::Ident(ident) if ident == "move"));
    tokens.next_if(|token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace));
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(expr: &str) -> Vec<String> {
        let expr: Expr = syn::parse_str(expr).unwrap();
        let mut found = Vec::new();
        scan(expr.to_token_stream(), false, &mut found);
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

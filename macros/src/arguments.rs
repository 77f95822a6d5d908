//! The loop over an attribute's arguments, `key = value, …`, that reads to the end whatever is in between: one wrong
//! argument must not hide the next.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Lit, LitBool, LitStr, Path, Token};

use crate::diagnostics::{Diagnostics, nearest, unknown};

/// The arguments that an attribute knows, and how each is written.
pub(crate) struct Arguments {
    pub(crate) keys: &'static [&'static str],
    pub(crate) usage: fn(&str) -> String,
}

/// Where the values of arguments are kept.
pub(crate) trait Values: Default {
    /// Parses the value of a known key and keeps it. Notes a wrong value itself, or leaves that to the caller with `Err`.
    fn parse_value(&mut self, key: &str, input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<()>;
}

/// Which keys were given: with a right value or a wrong one, or under a name that was noted as a slip.
#[derive(Default)]
pub(crate) struct Given {
    keys: Vec<String>,
    meant: Vec<String>,
}

impl Given {
    /// Whether it would be wrong to say that the key is missing.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.iter().chain(&self.meant).any(|given| given == key)
    }
}

impl Arguments {
    pub(crate) fn parse<V: Values>(&self, tokens: TokenStream, errors: &mut Diagnostics) -> (V, Given) {
        let (mut values, mut given) = (V::default(), Given::default());
        let parsed = (|input: ParseStream<'_>| {
            while !input.is_empty() {
                self.parse_one(&mut values, &mut given, input, errors);
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        })
        .parse2(tokens);
        if let Err(error) = parsed {
            errors.add(error);
        }
        (values, given)
    }

    /// Leaves the input at a comma or at its end.
    fn parse_one<V: Values>(
        &self,
        values: &mut V,
        given: &mut Given,
        input: ParseStream<'_>,
        errors: &mut Diagnostics,
    ) {
        let whole = input.fork();
        let Some(key) = key(input) else {
            let tokens = rest_of_argument(input);
            // Between two commas there are no tokens; the second one is marked.
            let tokens = if tokens.is_empty() { next_token(&input.fork()) } else { tokens };
            let Some(first) = self.keys.first() else { return };
            errors.on(tokens, format!("expected `key = value`, such as `{}`", (self.usage)(first)));
            // Probably meant: that it is missing need not be told as well.
            given.meant.push((*first).to_owned());
            return;
        };
        let name = key.to_string();
        if !self.keys.contains(&name.as_str()) {
            errors.on(&key, unknown("argument", &name, self.keys));
            given.meant.extend(nearest(&name, self.keys).map(str::to_owned));
            rest_of_argument(input);
            return;
        }
        let again = given.keys.contains(&name);
        if again {
            errors.on(&key, format!("`{name}` is given twice; leave one of them out"));
        }
        given.keys.push(name.clone());
        let usage = (self.usage)(&name);
        if !input.peek(Token![=]) || input.peek(Token![==]) {
            rest_of_argument(input);
            errors.on(until(&whole, input), format!("`{name}` needs a value: write `{usage}`"));
            return;
        }
        // Just peeked at.
        next_token(input);
        if value_ends(input) {
            errors.on(until(&whole, input), format!("the value of `{name}` is missing: write `{usage}`"));
            return;
        }
        // A second value is checked like the first, but does not replace it.
        let mut spare = V::default();
        let target = if again { &mut spare } else { values };
        let (value, ahead) = (input.fork(), input.fork());
        match target.parse_value(&name, &ahead, errors) {
            Ok(()) => {
                input.advance_to(&ahead);
                let rest = rest_of_argument(input);
                if !rest.is_empty() {
                    given.meant.extend(keys_in(&rest, self.keys));
                    errors.on(rest, format!("expected `,` after the value of `{name}`"));
                }
            }
            // Its own parser would tell once more what it has left over in brackets: so the input does not follow it.
            Err(error) => {
                until(input, &ahead);
                rest_of_argument(input);
                let message = format!("the value of `{name}` cannot be read: {}; write `{usage}`", said(&error));
                errors.on(until(&value, input), message);
            }
        }
    }
}

/// Whether the attribute is written `#[name = value]`. The compiler refuses that by itself, and expands it all the same:
/// a mistake that is noted would be the second one.
pub(crate) fn is_assigned() -> bool {
    Span::call_site().source_text().is_some_and(|attribute| is_assigned_in(&attribute))
}

fn is_assigned_in(attribute: &str) -> bool {
    let path = attribute.trim_start_matches(['#', '!', '[', ' ']);
    path.find(['(', '[', '{', '=']).is_some_and(|end| path[end..].starts_with('='))
}

/// What a parser found, without the end that it came upon: that is only the end of one value.
pub(crate) fn said(error: &syn::Error) -> String {
    let said = error.to_string();
    said.strip_prefix("unexpected end of input, ").unwrap_or(&said).to_owned()
}

fn key(input: ParseStream<'_>) -> Option<Ident> {
    // Any word: `crate` is a keyword.
    if input.peek(Ident::peek_any) { input.call(Ident::parse_any).ok() } else { None }
}

/// Whether an expression may end here: at a comma, or with the input.
pub(crate) fn value_ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// Takes all up to the next comma.
fn rest_of_argument(input: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !value_ends(input) {
        tokens.extend(next_token(input));
    }
    tokens
}

/// The keys that a comma was left out before.
fn keys_in(rest: &TokenStream, keys: &[&str]) -> Vec<String> {
    let words: Vec<_> = rest.clone().into_iter().map(|token| token.to_string()).collect();
    let is_given = |pair: &&[String]| pair[1] == "=" && keys.contains(&pair[0].as_str());
    words.windows(2).filter(is_given).map(|pair| pair[0].clone()).collect()
}

fn next_token(input: ParseStream<'_>) -> TokenStream {
    let token = input.step(|cursor| match cursor.token_tree() {
        Some((token, rest)) => Ok((TokenStream::from(token), rest)),
        None => Ok((TokenStream::new(), *cursor)),
    });
    token.unwrap_or_default()
}

/// The tokens from `start` to where `now` stands.
fn until(start: ParseStream<'_>, now: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !start.is_empty() && start.cursor() != now.cursor() {
        tokens.extend(next_token(start));
    }
    tokens
}

/// The value of `crate = …`: a path, or for those who come from serde, a path in a string.
pub(crate) fn parse_crate(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<Path>> {
    let path = if input.peek(LitStr) {
        input.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?
    } else {
        input.call(Path::parse_mod_style)?
    };
    let first = path.segments.first().map(|segment| segment.ident.to_string());
    // `$crate` of a macro arrives as a word of this name.
    if path.leading_colon.is_some() || matches!(first.as_deref(), Some("crate" | "$crate")) {
        return Ok(Some(path));
    }
    errors.on(
        path.to_token_stream(),
        "`crate` needs a path that means the same in every module: write `::name` for a dependency, \
         `crate::…` for a module of this crate, or `$crate` in a macro",
    );
    Ok(None)
}

/// The expression as a single word.
pub(crate) fn word(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Path(path) if path.qself.is_none() && path.attrs.is_empty() => path.path.get_ident(),
        _ => None,
    }
}

/// The expression as `true` or `false`.
pub(crate) fn boolean(expr: &Expr) -> Option<&LitBool> {
    match expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Bool(bool) => Some(bool),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assigned_attribute_is_told_from_one_with_arguments() {
        for assigned in ["#[async_handler = \"x\"]", "#[postback::main=f(1)]", "# [ a = [1] ]"] {
            assert!(is_assigned_in(assigned), "{assigned}");
        }
        for given in ["#[async_handler(webhook = a)]", "#[async_handler]", "#[a::b[c = d]]", "#[a {b = c}]", "a(b = c)"]
        {
            assert!(!is_assigned_in(given), "{given}");
        }
    }
}

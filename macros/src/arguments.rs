//! Parses the arguments of an attribute, `key = value, …`. The parser goes on after a mistake until the last argument,
//! so that the compiler can show the mistakes in all arguments at once.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Lit, LitBool, LitStr, Path, Token};

use crate::diagnostics::{Diagnostics, nearest, unknown};

/// The arguments that an attribute accepts.
pub(crate) struct Arguments {
    pub(crate) keys: &'static [&'static str],
    /// Returns an example of the argument with the given key, such as `error = display`. Error messages show the
    /// example.
    pub(crate) usage: fn(&str) -> String,
}

/// The parsed values of an attribute's arguments. Each attribute has its own struct that implements this trait.
pub(crate) trait Values: Default {
    /// Parses the value of a known key and stores the value. For a wrong value, the method adds an error to `errors`
    /// and returns `Ok`, or the method returns `Err` and its caller adds the error.
    fn parse_value(&mut self, key: &str, input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<()>;
}

/// The argument keys that the user wrote in one attribute.
#[derive(Default)]
pub(crate) struct GivenKeys {
    /// The correctly spelled keys. The values of these keys may be wrong.
    exact: Vec<String>,
    /// The keys that the user probably meant, but did not write correctly. `errors` already has an error for each of
    /// these keys.
    intended: Vec<String>,
}

impl GivenKeys {
    /// Whether the user gave the key `key`, or probably meant to give it. In both cases, an error "the key is missing"
    /// would be wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.exact.iter().chain(&self.intended).any(|given| given == key)
    }
}

impl Arguments {
    pub(crate) fn parse<V: Values>(&self, tokens: TokenStream, errors: &mut Diagnostics) -> (V, GivenKeys) {
        let (mut values, mut given) = (V::default(), GivenKeys::default());
        let parsed = (|input: ParseStream<'_>| {
            while !input.is_empty() {
                self.parse_argument(&mut values, &mut given, input, errors);
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

    /// Parses one argument `key = value`. After the call, the next token of the input is a comma, or the input has no
    /// more tokens.
    fn parse_argument<V: Values>(
        &self,
        values: &mut V,
        given: &mut GivenKeys,
        input: ParseStream<'_>,
        errors: &mut Diagnostics,
    ) {
        let start = input.fork();
        let Some(key) = self.parse_key(given, input, errors) else { return };
        let is_repeated = given.exact.contains(&key);
        if is_repeated {
            errors.on(next_token(&start.fork()), format!("`{key}` is given twice; remove one of them"));
        }
        given.exact.push(key.clone());
        if !self.parse_equals_sign(&key, &start, input, errors) {
            return;
        }
        // If the user gives a key twice, the second value is checked and discarded, and the first value stays.
        let mut discarded = V::default();
        let target = if is_repeated { &mut discarded } else { values };
        self.parse_value(target, &key, given, input, errors);
    }

    /// Parses a key and returns it, if the attribute knows the key. Otherwise, adds an error, skips the argument and
    /// returns `None`.
    fn parse_key(&self, given: &mut GivenKeys, input: ParseStream<'_>, errors: &mut Diagnostics) -> Option<String> {
        let Some(key) = any_word(input) else {
            let tokens = rest_of_argument(input);
            // If nothing stands between two commas, the error marks the second comma, because there are no other tokens
            // to mark.
            let tokens = if tokens.is_empty() { next_token(&input.fork()) } else { tokens };
            let first = self.keys.first()?;
            errors.on(tokens, format!("expected `key = value`, for example `{}`", (self.usage)(first)));
            // The user probably meant the first key in `keys`. So this key counts as intended, and no second error says
            // that the key is missing.
            given.intended.push((*first).to_owned());
            return None;
        };
        let name = key.to_string();
        if self.keys.contains(&name.as_str()) {
            return Some(name);
        }
        errors.on(&key, unknown("argument", &name, self.keys));
        given.intended.extend(nearest(&name, self.keys).map(str::to_owned));
        rest_of_argument(input);
        None
    }

    /// Parses the `=` after a key. Returns `true` if a value follows. Otherwise, adds an error, skips the argument and
    /// returns `false`.
    fn parse_equals_sign(
        &self,
        key: &str,
        start: ParseStream<'_>,
        input: ParseStream<'_>,
        errors: &mut Diagnostics,
    ) -> bool {
        let usage = (self.usage)(key);
        if !input.peek(Token![=]) || input.peek(Token![==]) {
            rest_of_argument(input);
            errors.on(tokens_between(start, input), format!("`{key}` needs a value: write `{usage}`"));
            return false;
        }
        // This call skips the `=`.
        next_token(input);
        let has_value = !value_ends(input);
        if !has_value {
            errors.on(tokens_between(start, input), format!("the value of `{key}` is missing: write `{usage}`"));
        }
        has_value
    }

    /// Parses the value after `key =`, stores the value in `target`, and skips the remaining tokens of the argument.
    fn parse_value<V: Values>(
        &self,
        target: &mut V,
        key: &str,
        given: &mut GivenKeys,
        input: ParseStream<'_>,
        errors: &mut Diagnostics,
    ) {
        let (value_start, ahead) = (input.fork(), input.fork());
        match target.parse_value(key, &ahead, errors) {
            Ok(()) => {
                input.advance_to(&ahead);
                let rest = rest_of_argument(input);
                if !rest.is_empty() {
                    given.intended.extend(keys_after_missing_comma(&rest, self.keys));
                    errors.on(rest, format!("expected `,` after the value of `{key}`"));
                }
            }
            // After this error, the code must not call `input.advance_to(&ahead)`. Otherwise, if tokens in brackets are
            // not parsed, syn would add a second error for these tokens.
            Err(error) => {
                tokens_between(input, &ahead);
                rest_of_argument(input);
                let message = format!(
                    "the value of `{key}` cannot be read: {}; write `{}`",
                    parser_message(&error),
                    (self.usage)(key)
                );
                errors.on(tokens_between(&value_start, input), message);
            }
        }
    }
}

/// Whether the user wrote the attribute as `#[name = value]`. The compiler itself reports an error for this syntax, but
/// still expands the attribute. So the expansion must not add a second error.
pub(crate) fn is_name_value() -> bool {
    Span::call_site().source_text().is_some_and(|attribute| is_name_value_text(&attribute))
}

fn is_name_value_text(attribute: &str) -> bool {
    let path = attribute.trim_start_matches(['#', '!', '[', ' ']);
    path.find(['(', '[', '{', '=']).is_some_and(|end| path[end..].starts_with('='))
}

/// Returns the message of a parser error, without the words "unexpected end of input". These words would be wrong,
/// because only the value of one argument has ended, and not the whole input.
pub(crate) fn parser_message(error: &syn::Error) -> String {
    let message = error.to_string();
    message.strip_prefix("unexpected end of input, ").unwrap_or(&message).to_owned()
}

/// Parses an identifier or a keyword. Keywords are accepted, because the key `crate` is a keyword.
fn any_word(input: ParseStream<'_>) -> Option<Ident> {
    if input.peek(Ident::peek_any) { input.call(Ident::parse_any).ok() } else { None }
}

/// Whether the parser is at the end of a value: the next token is a comma, or the input has no more tokens.
pub(crate) fn value_ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// Removes all tokens before the next comma from the input and returns them. If the input has no comma, removes all
/// tokens.
fn rest_of_argument(input: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !value_ends(input) {
        tokens.extend(next_token(input));
    }
    tokens
}

/// Finds the arguments `key = …` in the tokens after a value, and returns those of their keys that are in `keys`. The
/// user left out the comma before these arguments.
fn keys_after_missing_comma(rest: &TokenStream, keys: &[&str]) -> Vec<String> {
    let words: Vec<_> = rest.clone().into_iter().map(|token| token.to_string()).collect();
    let is_given = |pair: &&[String]| pair[1] == "=" && keys.contains(&pair[0].as_str());
    words.windows(2).filter(is_given).map(|pair| pair[0].clone()).collect()
}

/// Removes the next token from the input and returns it. If the input has no tokens, returns an empty stream.
fn next_token(input: ParseStream<'_>) -> TokenStream {
    let token = input.step(|cursor| match cursor.token_tree() {
        Some((token, rest)) => Ok((TokenStream::from(token), rest)),
        None => Ok((TokenStream::new(), *cursor)),
    });
    token.unwrap_or_default()
}

/// Returns the tokens between two positions in the input, `start` and `end`.
fn tokens_between(start: ParseStream<'_>, end: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !start.is_empty() && start.cursor() != end.cursor() {
        tokens.extend(next_token(start));
    }
    tokens
}

/// Parses the value of the argument `crate = …`. The value is a path, or a string that contains a path, as in the
/// attributes of serde.
pub(crate) fn parse_crate(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<Path>> {
    let path = if input.peek(LitStr) {
        input.parse::<LitStr>()?.parse_with(Path::parse_mod_style)?
    } else {
        input.call(Path::parse_mod_style)?
    };
    let first = path.segments.first().map(|segment| segment.ident.to_string());
    // If a `macro_rules!` macro generates the attribute with `$crate`, the attribute gets an identifier with the name
    // `$crate`.
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

/// Returns the identifier, if the expression is a single identifier such as `display`; otherwise `None`.
pub(crate) fn word(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Path(path) if path.qself.is_none() && path.attrs.is_empty() => path.path.get_ident(),
        _ => None,
    }
}

/// Returns the literal, if the expression is `true` or `false`; otherwise `None`.
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
    fn the_form_name_value_is_recognised() {
        for name_value in ["#[async_handler = \"x\"]", "#[postback::main=f(1)]", "# [ a = [1] ]"] {
            assert!(is_name_value_text(name_value), "{name_value}");
        }
        for given in ["#[async_handler(webhook = a)]", "#[async_handler]", "#[a::b[c = d]]", "#[a {b = c}]", "a(b = c)"]
        {
            assert!(!is_name_value_text(given), "{given}");
        }
    }
}

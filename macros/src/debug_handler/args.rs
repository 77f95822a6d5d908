//! Parses the arguments of `#[debug_handler(…)]`: an optional settings type, and `crate`.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Path, Token, Type};

use crate::arguments::{Arguments, Values, parse_crate};
use crate::diagnostics::Diagnostics;

const KEYS: [&str; 1] = ["crate"];

/// The values of the attribute's arguments. A field is `None` if the user did not give the argument, or if the value
/// was wrong and the parser added an error.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) settings: Option<Type>,
    /// The path that the user gave as the argument `crate`.
    pub(crate) crate_path: Option<Path>,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Diagnostics) -> Self {
        let (settings, rest) = split_settings(tokens, errors);
        let named: Self = Arguments { keys: &KEYS, usage }.parse(rest, errors).0;
        Self { settings, ..named }
    }
}

impl Values for Args {
    fn parse_value(&mut self, key: &str, input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<()> {
        if key == "crate" {
            self.crate_path = parse_crate(input, errors)?;
        }
        Ok(())
    }
}

/// Returns an example of the argument with the given key. Error messages show the example.
fn usage(key: &str) -> String {
    format!("{key} = ::postback")
}

/// Separates the settings type at the beginning of the tokens from the arguments `key = value` that follow the type.
fn split_settings(tokens: TokenStream, errors: &mut Diagnostics) -> (Option<Type>, TokenStream) {
    let parser = |input: ParseStream<'_>| {
        let named = input.peek(Ident::peek_any) && input.peek2(Token![=]) && !input.peek2(Token![==]);
        if input.is_empty() || named {
            return Ok((None, input.parse()?));
        }
        let settings: Type = input.parse()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        Ok((Some(settings), input.parse()?))
    };
    parser.parse2(tokens.clone()).unwrap_or_else(|_| {
        let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
        let first: TokenStream = tokens.clone().into_iter().take_while(|token| !is_comma(token)).collect();
        let marked = if first.is_empty() { tokens } else { first };
        errors.on(
            marked.to_token_stream(),
            "expected the type of the app's settings, for example `#[postback::debug_handler(Settings)]`",
        );
        (None, TokenStream::new())
    })
}

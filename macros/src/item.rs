//! Parses the function that an attribute stands on. The tokens of the function body are not parsed, so a half-typed
//! body reaches the compiler as it is, and the compiler reports what is wrong with it.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Signature, Token, Visibility};

use crate::diagnostics::Diagnostics;

/// The parsed function that the attribute stands on. Its tokens keep the user's spans.
pub(crate) struct Item {
    /// All tokens before the body, unchanged. Generated code repeats these tokens and does not print `attributes` and
    /// `signature` again, because printing a parsed signature could lose a token.
    pub(crate) head: TokenStream,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) signature: Signature,
    /// `None` if the function ends with a semicolon.
    pub(crate) body: Option<Body>,
}

/// A function body, `{ #![inner attributes] tokens }`.
pub(crate) struct Body {
    group: Group,
    pub(crate) inner: Vec<Attribute>,
    pub(crate) tokens: TokenStream,
}

impl Item {
    /// Parses the function. `attribute` is the attribute's name, which error messages use.
    pub(crate) fn parse(tokens: TokenStream, attribute: &str, errors: &mut Diagnostics) -> Option<Self> {
        let keywords = LeadingKeywords::of(tokens.clone());
        if let Some(other) = keywords.non_function_token() {
            let advice = if attribute == "async_handler" && begins_expression(&other) {
                "for a closure or another future, use `postback::report_outcome`"
            } else {
                "put it on the function itself"
            };
            errors.on(other, format!("`#[{attribute}]` can stand only on an `async fn`; {advice}"));
            return None;
        }
        Self::parse_function.parse2(tokens).map_err(|error| errors.add(error)).ok()
    }

    fn parse_function(input: ParseStream<'_>) -> syn::Result<Self> {
        // The last token is the body, or the semicolon of a function without a body.
        let mut head: Vec<TokenTree> = input.fork().parse::<TokenStream>()?.into_iter().collect();
        head.pop();
        let attributes = input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        if input.peek(Token![default]) && !input.peek2(Token![!]) {
            input.parse::<Token![default]>()?;
        }
        let signature = input.parse()?;
        let body = if input.peek(Token![;]) {
            input.parse::<Token![;]>()?;
            None
        } else {
            Some(input.parse()?)
        };
        Ok(Self { head: head.into_iter().collect(), attributes, signature, body })
    }

    /// Returns the first attribute whose path ends in `name`, for example `#[tokio::main]` for the name `main`.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == name))
    }
}

impl Parse for Body {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let whole = input.fork();
        let content;
        // `braced!` also accepts the invisible group that wraps a `$body:block` of a `macro_rules!` macro.
        syn::braced!(content in input);
        let group =
            unwrap_invisible_groups(whole.parse()?).ok_or_else(|| whole.error("expected the body in braces"))?;
        Ok(Self { group, inner: content.call(Attribute::parse_inner)?, tokens: content.parse()? })
    }
}

/// Returns the group in braces, without the invisible groups that a `macro_rules!` macro may put around it.
fn unwrap_invisible_groups(token: TokenTree) -> Option<Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            unwrap_invisible_groups(group.stream().into_iter().next()?)
        }
        TokenTree::Group(group) => Some(group),
        _ => None,
    }
}

impl Body {
    /// Puts `tokens` into braces that have the span of the user's braces. The compiler uses this span to choose the
    /// edition, the lint levels and the breakpoints for the code inside.
    pub(crate) fn in_user_braces(&self, tokens: TokenStream) -> Group {
        let mut group = Group::new(Delimiter::Brace, tokens);
        group.set_span(self.group.span());
        group
    }

    /// Returns the body as the user wrote it, with braces and inner attributes.
    pub(crate) fn as_written(&self) -> &Group {
        &self.group
    }

    /// Returns the body as a block without its inner attributes. If the body has no inner attributes, this is the
    /// user's own group, which alone keeps the location of each brace. The compiler needs these two locations to see
    /// that it has already reported a syntax error in the body.
    pub(crate) fn block(&self) -> Group {
        if self.inner.is_empty() { self.group.clone() } else { self.in_user_braces(self.tokens.clone()) }
    }
}

/// Whether the tokens look like an expression, such as a closure or an `async` block. Only the first tokens are
/// checked.
pub(crate) fn is_expression(tokens: &TokenStream) -> bool {
    LeadingKeywords::of(tokens.clone()).non_function_token().is_some_and(|other| begins_expression(&other))
}

/// Whether `token` begins an expression and not another item. `token` is the token that shows that the code is not a
/// function.
fn begins_expression(token: &TokenTree) -> bool {
    !matches!(token, TokenTree::Ident(word) if word != "async" && word != "move")
}

/// The keywords at the beginning of an item, such as `async` and `fn`. Attributes and a visibility before them are
/// skipped.
struct LeadingKeywords {
    keywords: Vec<Ident>,
    /// The first token behind the attributes, also if it is not a keyword.
    first_token: Option<TokenTree>,
}

impl LeadingKeywords {
    fn of(tokens: TokenStream) -> Self {
        let mut found = Self { keywords: Vec::new(), first_token: None };
        let parsed = (|input: ParseStream<'_>| {
            input.call(Attribute::parse_outer)?;
            found.first_token = input.fork().parse().ok();
            input.parse::<Visibility>()?;
            while input.peek(Ident::peek_any) || input.peek(syn::LitStr) {
                if input.peek(syn::LitStr) {
                    input.parse::<syn::LitStr>()?;
                } else {
                    found.keywords.push(input.call(Ident::parse_any)?);
                }
            }
            input.parse::<TokenStream>().map(drop)
        })
        .parse2(tokens);
        // This error is ignored, because `Item::parse_function` parses the same tokens and gives a better error.
        drop(parsed);
        found
    }

    /// Returns the token that shows that the code is not a function, or `None` if the code is a function.
    fn non_function_token(&self) -> Option<TokenTree> {
        const MODIFIERS: [&str; 7] = ["default", "const", "async", "unsafe", "safe", "extern", "gen"];
        let is_modifier = |word: &&Ident| MODIFIERS.iter().any(|modifier| *word == modifier);
        match self.keywords.iter().find(|word| !is_modifier(word)) {
            Some(word) if word == "fn" => None,
            Some(word) => Some(TokenTree::Ident(word.clone())),
            None => {
                self.keywords.first().map(|word| TokenTree::Ident(word.clone())).or_else(|| self.first_token.clone())
            }
        }
    }
}

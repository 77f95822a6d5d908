//! Parses the function that an attribute stands on. The tokens of the function body are not parsed, so a half-typed
//! body reaches the compiler as it is, and the compiler reports what is wrong with it.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Signature, Token, Visibility};

use crate::diagnostics::Diagnostics;

/// The user's function with the attribute, after parsing. Its tokens have the user's spans.
pub(crate) struct Item {
    /// All tokens before the function's body, unchanged. Generated code contains these tokens and not the parsed
    /// `attributes` and `signature`, because a parsed signature may lack some of the user's tokens.
    pub(crate) head: TokenStream,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) signature: Signature,
    /// The body of the function. `None` if the function has a semicolon instead of a body.
    pub(crate) body: Option<Body>,
}

/// The body of a function: braces with inner attributes and other tokens, `{ #![inner attributes] tokens }`.
pub(crate) struct Body {
    group: Group,
    pub(crate) inner: Vec<Attribute>,
    pub(crate) tokens: TokenStream,
}

impl Item {
    /// Parses the user's function. `attribute` is the name of the attribute in error messages.
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
        // The last token is the function's body. If the function has no body, the last token is a semicolon.
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

    /// Returns the function's first attribute whose path ends with `name`. For example, the name `main` finds the
    /// attribute `#[tokio::main]`.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == name))
    }
}

impl Parse for Body {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let whole = input.fork();
        let content;
        // If a `macro_rules!` macro passes the body as `$body:block`, an invisible group is around the body. `braced!`
        // accepts such a group.
        syn::braced!(content in input);
        let group =
            unwrap_invisible_groups(whole.parse()?).ok_or_else(|| whole.error("expected the body in braces"))?;
        Ok(Self { group, inner: content.call(Attribute::parse_inner)?, tokens: content.parse()? })
    }
}

/// Returns the group without the invisible groups that a `macro_rules!` macro may put around it. Returns `None` if the
/// token is not a group.
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
    /// Returns `tokens` in braces that have the span of the user's braces. The compiler uses this span to choose the
    /// edition, the lint levels and the breakpoints for the code inside the braces.
    pub(crate) fn in_user_braces(&self, tokens: TokenStream) -> Group {
        let mut group = Group::new(Delimiter::Brace, tokens);
        group.set_span(self.group.span());
        group
    }

    /// Returns the function's body as the user wrote it, with its braces and inner attributes.
    pub(crate) fn as_written(&self) -> &Group {
        &self.group
    }

    /// Returns the body as a block without its inner attributes. If the body has no inner attributes, returns the
    /// user's own group. A new group would lose the locations of the two braces, and without these locations the
    /// compiler would report a syntax error in the body twice.
    pub(crate) fn block(&self) -> Group {
        if self.inner.is_empty() { self.group.clone() } else { self.in_user_braces(self.tokens.clone()) }
    }
}

/// Whether the tokens begin like an expression, such as a closure or an `async` block. Later tokens are not checked.
pub(crate) fn is_expression(tokens: &TokenStream) -> bool {
    LeadingKeywords::of(tokens.clone()).non_function_token().is_some_and(|other| begins_expression(&other))
}

/// Whether `token` belongs to an expression, and not to an item such as a struct. `token` is the token that shows that
/// the code is not a function.
fn begins_expression(token: &TokenTree) -> bool {
    !matches!(token, TokenTree::Ident(word) if word != "async" && word != "move")
}

/// The keywords at the beginning of an item, such as `async` and `fn`. Attributes and a visibility before the keywords
/// are skipped.
struct LeadingKeywords {
    keywords: Vec<Ident>,
    /// The first token after the attributes, whether it is a keyword or not.
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
        // An error of this parser is ignored, because `Item::parse_function` parses the same tokens and returns a
        // better error.
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

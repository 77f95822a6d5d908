//! The function that the attribute sits on. Its body is never parsed: a half-typed one is the compiler's to judge.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Signature, Token, Visibility};

use crate::diagnostics::Diagnostics;

/// A function in the user's own tokens.
pub(crate) struct Item {
    /// All that stands before the body, as it came. What is parsed of it is read only: printed again, it could have lost
    /// a token.
    pub(crate) head: TokenStream,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) signature: Signature,
    pub(crate) body: Option<Body>,
}

/// `{ #![inner attributes] tokens }`.
pub(crate) struct Body {
    group: Group,
    pub(crate) inner: Vec<Attribute>,
    pub(crate) tokens: TokenStream,
}

impl Item {
    /// `attribute` is what the mistakes call the attribute by.
    pub(crate) fn parse(tokens: TokenStream, attribute: &str, errors: &mut Diagnostics) -> Option<Self> {
        let head = Head::of(tokens.clone());
        if let Some(other) = head.not_a_function() {
            let else_what = if attribute == "async_handler" && begins_expression(&other) {
                "for a closure or another future there is `postback::report_outcome`"
            } else {
                "write it on the function itself"
            };
            errors.on(other, format!("`#[{attribute}]` goes on an `async fn`; {else_what}"));
            return None;
        }
        Self::parse_function.parse2(tokens).map_err(|error| errors.add(error)).ok()
    }

    fn parse_function(input: ParseStream<'_>) -> syn::Result<Self> {
        // The body, or the semicolon in its place, is the last token.
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

    /// An attribute of that name, wherever it comes from.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == name))
    }
}

impl Parse for Body {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let whole = input.fork();
        let content;
        // Sees through the invisible group that a `$body:block` of a macro comes in.
        syn::braced!(content in input);
        let group = braced(whole.parse()?).ok_or_else(|| whole.error("expected the body in braces"))?;
        Ok(Self { group, inner: content.call(Attribute::parse_inner)?, tokens: content.parse()? })
    }
}

/// The group in braces, out of the invisible ones around it.
fn braced(token: TokenTree) -> Option<Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => braced(group.stream().into_iter().next()?),
        TokenTree::Group(group) => Some(group),
        _ => None,
    }
}

impl Body {
    /// The tokens in braces that are the user's: the edition of the code in them, its lints and its breakpoints go by
    /// the span of the braces.
    pub(crate) fn in_braces(&self, tokens: TokenStream) -> Group {
        let mut group = Group::new(Delimiter::Brace, tokens);
        group.set_span(self.group.span());
        group
    }

    /// The body as it came.
    pub(crate) fn whole(&self) -> &Group {
        &self.group
    }

    /// Braces and content, without the inner attributes. Where there are none it is the user's own group: only that
    /// keeps the place of each brace, by which the compiler knows a syntax error for one that it has told before.
    pub(crate) fn block(&self) -> Group {
        if self.inner.is_empty() { self.group.clone() } else { self.in_braces(self.tokens.clone()) }
    }
}

/// Whether the tokens are a closure, an `async` block or another expression, as far as the first words tell.
pub(crate) fn is_expression(tokens: &TokenStream) -> bool {
    Head::of(tokens.clone()).not_a_function().is_some_and(|other| begins_expression(&other))
}

/// Whether what makes it no function makes it no item either.
fn begins_expression(token: &TokenTree) -> bool {
    !matches!(token, TokenTree::Ident(word) if word != "async" && word != "move")
}

/// The words that an item begins with.
struct Head {
    words: Vec<Ident>,
    first: Option<TokenTree>,
}

impl Head {
    fn of(tokens: TokenStream) -> Self {
        let mut head = Self { words: Vec::new(), first: None };
        let parsed = (|input: ParseStream<'_>| {
            input.call(Attribute::parse_outer)?;
            head.first = input.fork().parse().ok();
            input.parse::<Visibility>()?;
            while input.peek(Ident::peek_any) || input.peek(syn::LitStr) {
                if input.peek(syn::LitStr) {
                    input.parse::<syn::LitStr>()?;
                } else {
                    head.words.push(input.call(Ident::parse_any)?);
                }
            }
            input.parse::<TokenStream>().map(drop)
        })
        .parse2(tokens);
        // A head that cannot be read is judged by the parser of the function, which says more.
        drop(parsed);
        head
    }

    /// The word that makes it something else.
    fn not_a_function(&self) -> Option<TokenTree> {
        const MODIFIERS: [&str; 7] = ["default", "const", "async", "unsafe", "safe", "extern", "gen"];
        let is_modifier = |word: &&Ident| MODIFIERS.iter().any(|modifier| *word == modifier);
        match self.words.iter().find(|word| !is_modifier(word)) {
            Some(word) if word == "fn" => None,
            Some(word) => Some(TokenTree::Ident(word.clone())),
            None => self.words.first().map(|word| TokenTree::Ident(word.clone())).or_else(|| self.first.clone()),
        }
    }
}

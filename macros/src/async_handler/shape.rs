//! Where the future is that is watched: the body of an `async fn`, or the `async` block that a plain function returns.
//!
//! The second is what `#[async_trait]` makes of a method, and what is written by hand where a signature has to name the
//! future. It is known by its form, never by a name: whoever re-exports or imitates `#[async_trait]` gets the same.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::{
    AngleBracketedGenericArguments, GenericArgument, PathArguments, ReturnType, Signature, Type, TypeParamBound,
};

use crate::diagnostics::Diagnostics;
use crate::item::{Body, Item};

/// The code whose end is reported.
pub(crate) struct Watched {
    pub(crate) body: Body,
    /// What it returns: what the user wrote in the signature, up to an alias.
    pub(crate) returns: Type,
    /// Empty for an `async fn`, whose body this is.
    pub(crate) around: Option<Around>,
}

/// The rest of a plain function whose last expression is `async { … }` or `….pin(async { … })`.
pub(crate) struct Around {
    function: Body,
    /// Before the block, or before the call that it is given to.
    before: Vec<TokenTree>,
    call: Option<Call>,
}

/// `(async move { … },)`.
struct Call {
    parentheses: Span,
    after: Vec<TokenTree>,
}

impl Watched {
    /// Takes the body out of the function. `None` if there is nothing to watch, which is noted.
    pub(crate) fn take(item: &mut Item, errors: &mut Diagnostics) -> Option<Self> {
        let Some(body) = item.body.take() else {
            // A foreign function has none; that it cannot be a handler is told of its `...`.
            if item.signature.variadic.is_some() {
                return None;
            }
            errors.on(
                &item.signature.ident,
                "there is no body to report on; put `#[async_handler]` on the methods of the `impl`, or on a default \
                 method",
            );
            return None;
        };
        if item.signature.asyncness.is_some() {
            let returns = check_returns(&item.signature, errors)?;
            return Some(Self { body, returns, around: None });
        }
        if let ReturnType::Type(_, returns) = &item.signature.output
            && let Some(last) = Last::of(&body.tokens)
        {
            return Self::in_plain_function(body, last, returns, errors);
        }
        not_async(item, &body, errors);
        None
    }

    fn in_plain_function(function: Body, last: Last, future: &Type, errors: &mut Diagnostics) -> Option<Self> {
        let Some(returns) = output(future) else {
            errors.on(future, "say what the future gives: write `impl Future<Output = Result<…>>`");
            return None;
        };
        let body = syn::parse2(last.block.into_token_stream()).map_err(|error| errors.add(error)).ok()?;
        Some(Self { body, returns, around: Some(Around { function, before: last.before, call: last.call }) })
    }
}

impl Around {
    /// What stands in the function before the block.
    pub(crate) fn before(&self) -> &[TokenTree] {
        &self.before
    }

    /// The whole body of the function, with this future in the place of its block.
    pub(crate) fn with(&self, future: TokenStream) -> Group {
        let last = match &self.call {
            None => future,
            Some(call) => {
                let given = future.into_iter().chain(call.after.iter().cloned()).collect();
                let mut group = Group::new(Delimiter::Parenthesis, given);
                group.set_span(call.parentheses);
                TokenTree::Group(group).into()
            }
        };
        let mut tokens = TokenStream::new();
        for attribute in &self.function.inner {
            attribute.to_tokens(&mut tokens);
        }
        tokens.extend(self.before.iter().cloned().chain(last));
        self.function.in_braces(tokens)
    }
}

/// The last expression of a function, if it is an `async` block or a call that is given one and nothing else.
///
/// Whether the block says `move` is all the same. What it borrows it would borrow from the function, which is over by then,
/// and so it borrows only what lives on: moving in the references to that is no different.
struct Last {
    /// Without `async` and `move`.
    before: Vec<TokenTree>,
    call: Option<Call>,
    block: Group,
}

impl Last {
    /// Reads backwards, for what stands before may be half-typed.
    fn of(tokens: &TokenStream) -> Option<Self> {
        let mut before: Vec<_> = tokens.clone().into_iter().collect();
        match before.pop()? {
            TokenTree::Group(block) if block.delimiter() == Delimiter::Brace => {
                let before = without_async(&before)?;
                begins_statement(before).then(|| Self { before: before.to_vec(), call: None, block })
            }
            TokenTree::Group(given) if given.delimiter() == Delimiter::Parenthesis => {
                begins_statement(without_path(&before, "pin")?).then_some(())?;
                let (call, block) = Call::of(&given)?;
                Some(Self { before, call: Some(call), block })
            }
            // A value that comes from a macro.
            TokenTree::Group(invisible) if invisible.delimiter() == Delimiter::None && before.is_empty() => {
                Self::of(&invisible.stream())
            }
            _ => None,
        }
    }
}

impl Call {
    fn of(given: &Group) -> Option<(Self, Group)> {
        let mut before: Vec<_> = given.stream().into_iter().collect();
        let after: Vec<_> = before.pop_if(|last| is_punct(last, ',')).into_iter().collect();
        let Some(TokenTree::Group(block)) = before.pop_if(|last| is_braced(last)) else { return None };
        without_async(&before)?.is_empty().then(|| (Self { parentheses: given.span(), after }, block))
    }
}

/// What stands before `async` or `async move` at the end.
fn without_async(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    let rest = match tokens.split_last()? {
        (last, rest) if is_word(last, "move") => rest,
        _ => tokens,
    };
    rest.split_last().filter(|(last, _)| is_word(last, "async")).map(|(_, rest)| rest)
}

/// What stands before the path at the end, which ends in this name.
fn without_path<'a>(tokens: &'a [TokenTree], name: &str) -> Option<&'a [TokenTree]> {
    let (last, mut rest) = tokens.split_last()?;
    is_word(last, name).then_some(())?;
    while let [before @ .., first, second] = rest
        && is_punct(first, ':')
        && is_punct(second, ':')
    {
        rest = match before.split_last() {
            Some((TokenTree::Ident(_), before)) => before,
            _ => before,
        };
    }
    Some(rest)
}

fn begins_statement(before: &[TokenTree]) -> bool {
    before.last().is_none_or(|last| is_punct(last, ';') || is_braced(last))
}

fn is_braced(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// What a future of this type gives: as it is written there, else by way of the trait, for an alias may hide it.
fn output(future: &Type) -> Option<Type> {
    if let Some(output) = written_output(future) {
        return Some(output.clone());
    }
    if matches!(future, Type::ImplTrait(_)) {
        return None;
    }
    let place = future.to_token_stream().into_iter().next().map_or_else(Span::mixed_site, |first| first.span());
    let place = place.resolved_at(Span::mixed_site());
    Some(Type::Verbatim(quote_spanned!(place=> <#future as ::core::future::Future>::Output)))
}

/// The `T` of the first `Output = T` in a type: of `impl Future<Output = T>`, or of `Pin<Box<dyn Future<Output = T>>>`.
fn written_output(of: &Type) -> Option<&Type> {
    match of {
        Type::ImplTrait(of) => of.bounds.iter().find_map(output_of_bound),
        Type::TraitObject(of) => of.bounds.iter().find_map(output_of_bound),
        Type::Group(of) => written_output(&of.elem),
        Type::Paren(of) => written_output(&of.elem),
        Type::Path(path) => {
            arguments(&path.path.segments.last()?.arguments)?.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(of) => written_output(of),
                _ => None,
            })
        }
        _ => None,
    }
}

fn output_of_bound(bound: &TypeParamBound) -> Option<&Type> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    arguments(&bound.path.segments.last()?.arguments)?.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(output) if output.ident == "Output" => Some(&output.ty),
        _ => None,
    })
}

fn arguments(of: &PathArguments) -> Option<&AngleBracketedGenericArguments> {
    match of {
        PathArguments::AngleBracketed(arguments) => Some(arguments),
        _ => None,
    }
}

fn check_returns(signature: &Signature, errors: &mut Diagnostics) -> Option<Type> {
    match &signature.output {
        ReturnType::Type(_, returns) if matches!(**returns, Type::Never(_)) => {
            errors.on(
                returns,
                "a handler that never returns has no outcome; write `-> Result<std::convert::Infallible, Error>` if it \
                 ends by an error",
            );
            None
        }
        ReturnType::Type(_, returns) => Some((**returns).clone()),
        ReturnType::Default => {
            errors.on(
                &signature.ident,
                "a handler returns a `Result`: `Ok` is reported as completed, `Err` as failed; \
                 write `-> Result<(), Error>`, or `-> Result<(), std::convert::Infallible>` if it cannot fail",
            );
            None
        }
    }
}

fn not_async(item: &Item, body: &Body, errors: &mut Diagnostics) {
    let returns_future = match &item.signature.output {
        ReturnType::Type(_, returns) => written_output(returns).is_some(),
        ReturnType::Default => false,
    };
    if returns_future {
        errors.on(
            last_expression(&body.tokens, &item.signature.ident),
            "this future is made elsewhere and cannot be watched from here: end the function with `async move { … }` or \
             `Box::pin(async move { … })` that awaits it, or make the function an `async fn`",
        );
    } else if let Some(test) = item.attribute("test") {
        errors.on(test, "this attribute has taken the `async` away; put it below `#[async_handler]`");
    } else if item.signature.constness.is_none() {
        errors.on(
            item.signature.fn_token,
            "`#[async_handler]` needs an `async fn`; if this is one, then an attribute above has taken the `async` away \
             (as `#[tokio::main]` and `#[tokio::test]` do), and has to go below",
        );
    }
}

/// The last expression, or the name of the function if there is none.
fn last_expression(tokens: &TokenStream, name: &Ident) -> TokenStream {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let last = tokens.rsplit(|token| is_punct(token, ';')).next().unwrap_or_default();
    if last.is_empty() { name.to_token_stream() } else { last.iter().cloned().collect() }
}

#[cfg(test)]
mod tests;

//! Finds the code whose outcome is reported: the body of an `async fn`, or the `async` block that a plain function
//! returns.
//!
//! `#[async_trait]` turns each method into a plain function that returns an `async` block. Users also write such
//! functions where a signature has to name the type of the future. This file recognises them by their form and never by
//! the name of an attribute, so they work with every macro that generates the form of `#[async_trait]`.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::{
    AngleBracketedGenericArguments, GenericArgument, PathArguments, ReturnType, Signature, Type, TypeParamBound,
};

use super::spans::{SpanRange, group};
use super::tokens::{is_braced, is_punct, is_word};
use crate::diagnostics::Diagnostics;
use crate::item::{Body, Item};

/// The part of the user's function whose outcome is reported: the body of an `async fn`, or an `async` block.
pub(crate) struct WatchedFuture {
    pub(crate) body: Body,
    /// The type that the user's code returns, as the user wrote the type in the signature. If the signature has only an
    /// alias of a future type, this field is `<Alias as Future>::Output`.
    pub(crate) output: Type,
    /// The code around the `async` block, if the user's function is a plain function. `None` if the function is an
    /// `async fn`.
    pub(crate) wrapper: Option<Wrapper>,
}

/// The code around the `async` block in a plain function whose last expression is `async { … }` or `…::pin(async { …
/// })`.
pub(crate) struct Wrapper {
    function: Body,
    /// The tokens in the function's body before the `async` block. If the block is the argument of a call such as
    /// `Box::pin(…)`, these tokens include `Box::pin`.
    before: Vec<TokenTree>,
    pin_arguments: Option<PinArguments>,
}

/// The parentheses of a call such as `Box::pin(async move { … },)`, without the `async` block in them.
struct PinArguments {
    span: Span,
    /// The comma after the `async` block, if there is one.
    after: Vec<TokenTree>,
}

impl WatchedFuture {
    /// Removes the body from the function and returns the code whose outcome is reported. If the function has no such
    /// code, adds an error and returns `None`.
    pub(crate) fn take(item: &mut Item, errors: &mut Diagnostics) -> Option<Self> {
        let Some(body) = item.body.take() else {
            // Only a foreign function can be variadic. No error is added for a variadic function here, because
            // `check_modifiers` adds an error for its `...`.
            if item.signature.variadic.is_some() {
                return None;
            }
            errors.on(
                &item.signature.ident,
                "this function has no body, so it has no outcome to report; put `#[async_handler]` on the method in \
                 each `impl`, or give this method a default body",
            );
            return None;
        };
        if item.signature.asyncness.is_some() {
            let output = check_return_type(&item.signature, errors)?;
            return Some(Self { body, output, wrapper: None });
        }
        if let ReturnType::Type(_, returns) = &item.signature.output
            && let Some(tail) = TailExpression::of(&body.tokens)
        {
            return Self::in_plain_function(body, tail, returns, errors);
        }
        add_not_async_error(item, &body, errors);
        None
    }

    fn in_plain_function(
        function: Body,
        tail: TailExpression,
        future: &Type,
        errors: &mut Diagnostics,
    ) -> Option<Self> {
        let Some(output) = output_of_future(future) else {
            errors.on(future, "the output type of this future is missing; write `impl Future<Output = Result<…>>`");
            return None;
        };
        let body = syn::parse2(tail.block.into_token_stream()).map_err(|error| errors.add(error)).ok()?;
        let wrapper = Wrapper { function, before: tail.before, pin_arguments: tail.pin_arguments };
        Some(Self { body, output, wrapper: Some(wrapper) })
    }
}

impl Wrapper {
    /// Returns the tokens in the function's body before the `async` block. An `async fn` has no such tokens.
    pub(crate) fn before(&self) -> &[TokenTree] {
        &self.before
    }

    /// Returns the body of the user's function, with the tokens `future` in place of the `async` block.
    pub(crate) fn with_future(&self, future: TokenStream) -> Group {
        let tail = match &self.pin_arguments {
            None => future,
            Some(arguments) => {
                let tokens = future.into_iter().chain(arguments.after.iter().cloned()).collect();
                TokenTree::Group(group(Delimiter::Parenthesis, tokens, arguments.span)).into()
            }
        };
        let mut tokens = TokenStream::new();
        for attribute in &self.function.inner {
            attribute.to_tokens(&mut tokens);
        }
        tokens.extend(self.before.iter().cloned().chain(tail));
        self.function.in_user_braces(tokens)
    }
}

/// The last expression of a function, if it is an `async` block or a call of `pin` with an `async` block as the only
/// argument.
///
/// It makes no difference whether the block has the word `move`. A block without `move` cannot borrow the function's
/// own variables, because they are dropped when the function returns. So the block borrows only values that live longer
/// than the function call. With `move`, the block copies the references to these values.
struct TailExpression {
    /// The tokens before the block, without `async` and `move`.
    before: Vec<TokenTree>,
    pin_arguments: Option<PinArguments>,
    block: Group,
}

impl TailExpression {
    /// Returns the last expression of a function body. The function reads the tokens backwards from the end, because
    /// the user may still be typing the code before the last expression.
    fn of(tokens: &TokenStream) -> Option<Self> {
        let mut before: Vec<_> = tokens.clone().into_iter().collect();
        match before.pop()? {
            TokenTree::Group(block) if block.delimiter() == Delimiter::Brace => {
                let before = without_async(&before)?;
                ends_statement(before).then(|| Self { before: before.to_vec(), pin_arguments: None, block })
            }
            TokenTree::Group(arguments) if arguments.delimiter() == Delimiter::Parenthesis => {
                ends_statement(without_path_ending_in(&before, "pin")?).then_some(())?;
                let (arguments, block) = PinArguments::of(&arguments)?;
                Some(Self { before, pin_arguments: Some(arguments), block })
            }
            // If a `macro_rules!` macro passes an expression to the attribute, the expression is in an invisible group.
            TokenTree::Group(invisible) if invisible.delimiter() == Delimiter::None && before.is_empty() => {
                Self::of(&invisible.stream())
            }
            _ => None,
        }
    }
}

impl PinArguments {
    /// Separates the `async` block from the other tokens in the parentheses. Returns `None` if the parentheses do not
    /// contain exactly one `async` block.
    fn of(parentheses: &Group) -> Option<(Self, Group)> {
        let mut before: Vec<_> = parentheses.stream().into_iter().collect();
        let after: Vec<_> = before.pop_if(|last| is_punct(last, ',')).into_iter().collect();
        let Some(TokenTree::Group(block)) = before.pop_if(|last| is_braced(last)) else { return None };
        without_async(&before)?.is_empty().then(|| (Self { span: parentheses.span(), after }, block))
    }
}

/// Returns the tokens without `async` or `async move` at their end. Returns `None` if the tokens end with other tokens.
fn without_async(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    let rest = match tokens.split_last()? {
        (last, rest) if is_word(last, "move") => rest,
        _ => tokens,
    };
    rest.split_last().filter(|(last, _)| is_word(last, "async")).map(|(_, rest)| rest)
}

/// Returns the tokens without the path at their end, for example `std::boxed::Box::pin`. Returns `None` if the tokens
/// do not end with a path whose last segment is `name`.
fn without_path_ending_in<'a>(tokens: &'a [TokenTree], name: &str) -> Option<&'a [TokenTree]> {
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

/// Whether a new statement or the tail expression can begin after these tokens.
fn ends_statement(before: &[TokenTree]) -> bool {
    before.last().is_none_or(|last| is_punct(last, ';') || is_braced(last))
}

/// Returns the output type of a future type. If the tokens of the future type contain `Output = T`, returns `T`. If the
/// future type is an `impl Trait` without `Output = T`, returns `None`. For other types, such as an alias `Alias`,
/// returns `<Alias as Future>::Output`.
fn output_of_future(future: &Type) -> Option<Type> {
    if let Some(output) = written_output(future) {
        return Some(output.clone());
    }
    if matches!(future, Type::ImplTrait(_)) {
        return None;
    }
    let location = SpanRange::of(&future.to_token_stream()).first;
    Some(Type::Verbatim(quote_spanned!(location=> <#future as ::core::future::Future>::Output)))
}

/// Returns the type `T` of the first `Output = T` in the tokens of a type, such as `impl Future<Output = T>` or
/// `Pin<Box<dyn Future<Output = T>>>`.
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

fn check_return_type(signature: &Signature, errors: &mut Diagnostics) -> Option<Type> {
    match &signature.output {
        ReturnType::Type(_, returns) if matches!(**returns, Type::Never(_)) => {
            errors.on(
                returns,
                "a function that never returns has no outcome to report; if the function ends only with an error, \
                 write `-> Result<std::convert::Infallible, Error>`",
            );
            None
        }
        ReturnType::Type(_, returns) => Some((**returns).clone()),
        ReturnType::Default => {
            errors.on(
                &signature.ident,
                "a handler must return a `Result`: `Ok` is reported as completed, `Err` as failed; \
                 write `-> Result<(), Error>`, or `-> Result<(), std::convert::Infallible>` if it cannot fail",
            );
            None
        }
    }
}

/// Adds an error that says that the function is neither an `async fn` nor a plain function whose last expression is an
/// `async` block.
fn add_not_async_error(item: &Item, body: &Body, errors: &mut Diagnostics) {
    let returns_future = match &item.signature.output {
        ReturnType::Type(_, returns) => written_output(returns).is_some(),
        ReturnType::Default => false,
    };
    if returns_future {
        errors.on(
            last_expression(&body.tokens, &item.signature.ident),
            "other code makes this future, so `#[async_handler]` cannot report its outcome; await the future in an \
             `async move { … }` or a `Box::pin(async move { … })` at the end of the function, or make the function an \
             `async fn`",
        );
    } else if let Some(test) = item.attribute("test") {
        errors.on(test, "this attribute has removed the `async` of the function; put it below `#[async_handler]`");
    } else if item.signature.constness.is_none() {
        errors.on(
            item.signature.fn_token,
            "`#[async_handler]` needs an `async fn`; if you wrote `async`, an attribute above has removed it, as \
             `#[tokio::main]` and `#[tokio::test]` do: put that attribute below `#[async_handler]`",
        );
    }
}

/// Returns the tokens that an error marks: the last expression of the function body, or the function's name if the body
/// does not end with an expression.
fn last_expression(tokens: &TokenStream, name: &Ident) -> TokenStream {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let last = tokens.rsplit(|token| is_punct(token, ';')).next().unwrap_or_default();
    if last.is_empty() { name.to_token_stream() } else { last.iter().cloned().collect() }
}

#[cfg(test)]
mod tests;

//! The generated code: the user's function, with its body given to the runtime to watch.
//!
//! ```text
//! async fn NAME(…) -> RET {
//!     ::postback::__private::announce!(HOW "WEBHOOK"); // tells a server of the function
//!     let __returns = …; // the type RET, from where the compiler knows it
//!     return ::postback::__private::begin(move || {
//!         ::postback::__private::whole!(PARAMETERS);
//!         let __call = ::postback::__private::enter(
//!             |__call| __call.by_operator(::postback::__private::Whose(&PARAMETER).is_operators()).webhook(&(WEBHOOK)),
//!             |__call| __call.request_id(&(ID)),
//!         );
//!         ::postback::__private::watch(
//!             __call,
//!             async move {
//!                 ::postback::__private::whole!(PARAMETERS);
//!                 if let Some(__returned) = ::postback::__private::never(__returns) { return __returned; }
//!                 ({ BODY })
//!             },
//!             ::postback::__private::told::<_, _, _>(__returns, RESULT, ERROR),
//!         )
//!     }).await;
//! }
//! ```
//!
//! The closure takes the parameters out of the function, so that they are in its future no more than once for what the
//! compiler itself keeps of them: a variable of an `async fn` that was ever borrowed is kept until the end of the function.
//! `whole!` makes closure and block take each parameter in one piece, the last one first, in which order the compiler drops
//! them too.
//!
//! A body without an `.await` is a closure that runs `at_once`, and its parameters need not be kept at all.
//!
//! Of a plain function that ends in an `async` block, the closure is given to `lazily` in the place of that block: nothing
//! happens before the first poll, as in an `async fn`.
//!
//! No lint is switched off in it, for that would fail where the user forbids the lint. So it must not cause one either.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{AngleBracketedGenericArguments, ExprPath, GenericArgument, PathArguments, Type, parse_quote};

use super::announced::announced;
use super::args::{ErrorView, ResultView};
use super::bindings::Binding;
use super::check::Handler;
use super::rebound::{with_uses, words};
use super::waits::may_wait;

/// The whole function.
pub(crate) fn expand(handler: &Handler) -> TokenStream {
    let head = &handler.item.head;
    let body = match &handler.watched.around {
        None => in_async_function(handler),
        Some(around) => around.with(in_place_of_block(handler)),
    };
    quote!(#head #body)
}

/// The `return`s say to the compiler what the function returns, and to clippy that nothing is returned silently. The type
/// is not written a second time: a mistake in it would be told a second time, and a macro may have made it.
fn in_async_function(handler: &Handler) -> Group {
    let private = handler.runtime.private();
    let returns = in_place_of_returns(handler, &quote_spanned!(Span::mixed_site()=> #private::returns()));
    let begin = in_place_of_returns(handler, &quote_spanned!(Span::mixed_site()=> #private::begin));
    let inner = &handler.watched.body.inner;
    let captured = captured(handler);
    let entered = entered(handler);
    let body_waits = handler.durable || may_wait(&handler.watched.body.tokens);
    let run = if body_waits {
        watched(handler, &captured_by_body(handler), None)
    } else {
        run_at_once(handler, &captured_by_body(handler))
    };
    let waited = body_waits.then(|| quote_spanned!(Span::mixed_site()=> .await));
    let announced = announced(handler, body_waits);
    let call = in_parentheses(handler, &quote_spanned!(Span::mixed_site()=> move || { #captured #entered #run }));
    handler.watched.body.in_braces(quote_spanned! {Span::mixed_site()=>
        #(#inner)*
        #announced
        let __returns = {
            let (__never, __returns) = #returns;
            if let ::core::option::Option::Some(__returned) = __never {
                return __returned;
            }
            __returns
        };
        return #begin #call #waited;
    })
}

/// Such a block takes what it names, and no more may be taken: a parameter may not live as long as the future.
fn in_place_of_block(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let returns = without_impl(&handler.watched.returns);
    let (entered, inner) = (entered(handler), &handler.watched.body.inner);
    let run = watched(handler, &TokenStream::new(), Some(&quote!(#(#inner)*)));
    let announced = announced(handler, true);
    quote_spanned! {Span::mixed_site()=>
        #private::lazily(move || {
            #announced
            let __returns = #private::returned::<#returns>();
            #entered
            #run
        })
    }
}

/// Each parameter is taken in one piece, the last one first.
fn captured(handler: &Handler) -> TokenStream {
    whole(handler, |_| true)
}

/// The same for the body. An expression with brackets may move what it names: then it is left out where the body has no use
/// for it.
fn captured_by_body(handler: &Handler) -> TokenStream {
    let moves = |code: &TokenStream| code.clone().into_iter().any(|token| matches!(token, TokenTree::Group(_)));
    let taken: HashSet<_> =
        [&handler.webhook, &handler.request_id].into_iter().filter(|code| moves(code)).flat_map(words).collect();
    let used = words(&handler.watched.body.tokens);
    whole(handler, |name| used.contains(name) || !taken.contains(name))
}

fn whole(handler: &Handler, take: impl Fn(&str) -> bool) -> TokenStream {
    let private = handler.runtime.private();
    let parameters = handler.bindings.iter().rev().filter(|binding| take(&binding.name.unraw().to_string()));
    let parameters = parameters.map(|Binding { name, conditions }| quote!(#(#conditions)* #name));
    quote_spanned!(Span::mixed_site()=> #private::whole!(#(#parameters)*);)
}

/// Both expressions are borrowed from and evaluated in closures that are gone by the end of the statement: no temporary
/// of theirs, such as the guard of a lock, lives on while the body runs.
fn entered(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let (webhook, request_id) = (borrowed(&handler.webhook), borrowed(&handler.request_id));
    // First: the expression may move what is asked.
    let chosen = handler.reads.told(&handler.runtime);
    quote_spanned! {Span::mixed_site()=>
        let __call = #private::enter(|__call| __call #chosen.webhook(#webhook), |__call| __call.request_id(#request_id));
    }
}

/// `&(expression)`, all of it in the place of the expression: there a type is marked that does not fit.
fn borrowed(expression: &TokenStream) -> TokenStream {
    let place = Place::of(expression);
    let mut group = Group::new(Delimiter::Parenthesis, expression.clone());
    group.set_span(place.last);
    quote_spanned!(place.first=> &#group)
}

/// Where tokens of the user's stand, for tokens of ours in the same place.
struct Place {
    first: Span,
    last: Span,
}

impl Place {
    fn of(tokens: &TokenStream) -> Self {
        let Self { first, last } = Self::of_users(tokens);
        Self { first: first.resolved_at(Span::mixed_site()), last: last.resolved_at(Span::mixed_site()) }
    }

    /// For tokens that are to pass for the user's.
    fn of_users(tokens: &TokenStream) -> Self {
        let span = |token: Option<TokenTree>| token.map_or_else(Span::mixed_site, |token| token.span());
        Self { first: span(tokens.clone().into_iter().next()), last: span(tokens.clone().into_iter().last()) }
    }
}

fn watched(handler: &Handler, captured: &TokenStream, inner: Option<&TokenStream>) -> TokenStream {
    let private = handler.runtime.private();
    let body = braced_body(handler, captured, inner);
    let body = quote_spanned!(place_of_returns(handler).first=> async move #body);
    let (told, options) = (told(handler), options(handler));
    quote_spanned!(Span::mixed_site()=> #private::watch(__call, #body, #told) #options)
}

fn run_at_once(handler: &Handler, captured: &TokenStream) -> TokenStream {
    let private = handler.runtime.private();
    let body = braced_body(handler, captured, None);
    let body = quote_spanned!(place_of_returns(handler).first=> move || #body);
    let (told, options) = (told(handler), options(handler));
    let at_once = in_place_of_returns(handler, &quote_spanned!(Span::mixed_site()=> #private::at_once));
    let run = in_place_of_returns(handler, &quote_spanned!(Span::mixed_site()=> .run()));
    let arguments = in_parentheses(handler, &quote_spanned!(Span::mixed_site()=> __call, #body, #told));
    quote_spanned!(Span::mixed_site()=> #at_once #arguments #options #run)
}

/// Block or closure stand, as the user's own, in the place of the return type: what the compiler says of "this block" and
/// "the inferred return type" it shows there, and a variable that is captured has a name in its messages only if a user wrote
/// what captures it.
fn place_of_returns(handler: &Handler) -> Place {
    Place::of_users(&handler.watched.returns.to_token_stream())
}

/// The body as that of a block or closure of its own, without rebinding: what it captures is not moved once more, so that
/// nothing is in the future twice.
///
/// The edge in front tells the compiler what the body returns; it stands outside the user's own block.
fn braced_body(handler: &Handler, captured: &TokenStream, inner: Option<&TokenStream>) -> Group {
    let block = block(handler);
    let never = never(handler);
    let leave = {
        let place = Place::of(&handler.watched.returns.to_token_stream()).first;
        quote_spanned!(place=> return __returned)
    };
    let tokens = quote_spanned! {Span::mixed_site()=>
        #inner
        #captured
        if let ::core::option::Option::Some(__returned) = #never {
            #leave;
        }
        #block
    };
    let mut braces = Group::new(Delimiter::Brace, tokens);
    braces.set_span(place_of_returns(handler).last);
    braces
}

/// What has the return type in its own is to stand there: what the compiler says of the type it then says in one place, and
/// the same in the same place it says once.
fn in_place_of_returns(handler: &Handler, tokens: &TokenStream) -> TokenStream {
    in_place(tokens.clone(), place_of_returns(handler).first)
}

/// The same for the arguments of a call: an expression stands where its first and its last token stand.
fn in_parentheses(handler: &Handler, arguments: &TokenStream) -> Group {
    let mut group = Group::new(Delimiter::Parenthesis, arguments.clone());
    group.set_span(Span::mixed_site().located_at(place_of_returns(handler).first));
    group
}

/// The value that is never there.
fn never(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    in_place_of_returns(handler, &quote_spanned!(Span::mixed_site()=> #private::never(__returns)))
}

/// How result and error are told. The compiler blames a type that cannot be told so on the `_` of its view, which
/// therefore stands in the place of the user's word for it; and a type that is no `Result` on the whole path.
fn told(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let place = Place::of(&handler.watched.returns.to_token_stream()).first;
    let plain = |name: &str| {
        let name = Ident::new(name, Span::mixed_site());
        quote_spanned!(Span::mixed_site()=> #private::#name)
    };
    let through = |path: &ExprPath| {
        (quote_spanned!(Span::mixed_site()=> #private::Through(#path)), Place::of(&path.to_token_stream()).first)
    };
    let (result, result_place) = match &handler.result {
        ResultView::Whole => (plain("AsJson"), place),
        ResultView::Nothing => (plain("Untold"), place),
        ResultView::With(path) => through(path),
    };
    let (error, error_place) = match &handler.error {
        ErrorView::None | ErrorView::Reason => (plain("Untold"), place),
        ErrorView::Display(word) => (plain("AsDisplay"), *word),
        ErrorView::Debug(word) => (plain("AsDebug"), *word),
        ErrorView::With(path) => through(path),
    };
    let result_place = in_place(quote_spanned!(Span::mixed_site()=> _), result_place);
    let error_place = in_place(quote_spanned!(Span::mixed_site()=> _), error_place);
    let told = in_place(quote_spanned!(Span::mixed_site()=> #private::told), place);
    quote_spanned!(place=> #told::<_, #result_place, #error_place>(__returns, #result, #error))
}

/// The tokens, all in one place. What they mean stays: a `$crate` among them is still the macro's.
fn in_place(tokens: TokenStream, place: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(token.span().located_at(place));
            token
        })
        .collect()
}

/// The body in the user's own braces. The parentheses keep the compiler from calling the braces of a body that is a
/// single expression unnecessary; itself they do not bother, for they come out of a macro.
fn block(handler: &Handler) -> TokenStream {
    let body = &handler.watched.body;
    let words = || &words(&handler.webhook) | &words(&handler.request_id);
    let with_uses =
        handler.watched.around.as_ref().and_then(|_| with_uses(&body.tokens, &words(), |name| used(name, handler)));
    let block = with_uses.map_or_else(|| body.block(), |tokens| body.in_braces(tokens));
    quote_spanned!(Span::mixed_site()=> (#block))
}

/// A use that never happens: it is no borrow either, which would keep the variable alive.
fn used(name: &Ident, handler: &Handler) -> TokenStream {
    let never = never(handler);
    quote_spanned! {Span::mixed_site()=>
        if let ::core::option::Option::Some(__returned) = #never {
            let _used = #name;
            return __returned;
        }
    }
}

/// One call for each argument that differs from the runtime's own choice.
fn options(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let mut calls = TokenStream::new();
    if let Some((first, more)) = handler.on.split_first() {
        let first = end(first);
        let more = more.iter().map(end);
        calls.extend(quote_spanned! {Span::mixed_site()=>
            .on(#private::Ends::#first #(.with(#private::Ends::#more))*)
        });
    }
    // Who wants the error told wants to know of failures that have none, too.
    if !matches!(handler.error, ErrorView::None) {
        calls.extend(quote_spanned!(Span::mixed_site()=> .error_reason()));
    }
    if handler.durable {
        calls.extend(quote_spanned!(Span::mixed_site()=> .durable()));
    }
    calls
}

fn end(word: &Ident) -> Ident {
    Ident::new(&word.to_string().to_uppercase(), word.span().resolved_at(Span::mixed_site()))
}

/// The type with `_` in place of each `impl Trait`, which cannot be named outside a signature.
fn without_impl(of: &Type) -> Type {
    let mut erased = of.clone();
    erase(&mut erased);
    erased
}

fn erase(of: &mut Type) {
    match of {
        Type::ImplTrait(_) => *of = parse_quote!(_),
        Type::Array(array) => erase(&mut array.elem),
        Type::Group(group) => erase(&mut group.elem),
        Type::Paren(paren) => erase(&mut paren.elem),
        Type::Ptr(pointer) => erase(&mut pointer.elem),
        Type::Reference(reference) => erase(&mut reference.elem),
        Type::Slice(slice) => erase(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase),
        Type::Path(path) => {
            path.path.segments.iter_mut().for_each(|segment| erase_arguments(&mut segment.arguments));
        }
        // Elsewhere `impl Trait` is not allowed to stand.
        _ => {}
    }
}

fn erase_arguments(arguments: &mut PathArguments) {
    let PathArguments::AngleBracketed(AngleBracketedGenericArguments { args, .. }) = arguments else { return };
    for argument in args {
        if let GenericArgument::Type(of) = argument {
            erase(of);
        }
    }
}

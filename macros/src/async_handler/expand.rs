//! The generated code: the user's function, with its body given to the runtime to watch.
//!
//! ```text
//! async fn NAME(…) -> RET {
//!     let __call = ::postback::__private::enter(
//!         |__call| __call.by_operator(::postback::__private::Whose(&PARAMETER).is_operators()).webhook(&(WEBHOOK)),
//!         |__call| __call.request_id(&(ID)),
//!     );
//!     ::postback::__private::watch(
//!         __call,
//!         async move {
//!             if let Some(__returned) = None::<RET> { return __returned; }
//!             ({ BODY })
//!         },
//!         ::postback::__private::told::<RET, _, _>(RESULT, ERROR),
//!     ).await
//! }
//! ```
//!
//! Of a plain function that ends in an `async` block, the block gets this in place of its own content: nothing happens
//! before the first poll, as in an `async fn`.
//!
//! No lint is switched off in it, for that would fail where the user forbids the lint. So it must not cause one either.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{AngleBracketedGenericArguments, ExprPath, GenericArgument, PathArguments, Type, parse_quote};

use super::args::{ErrorView, ResultView};
use super::check::Handler;

/// The whole function.
pub(crate) fn expand(handler: &Handler) -> TokenStream {
    let head = &handler.item.head;
    let inner = &handler.watched.body.inner;
    let (entered, watched) = (entered(handler), watched(handler));
    let block = handler.watched.body.in_braces(quote!(#(#inner)* #entered #watched));
    let body = match &handler.watched.around {
        None => block,
        Some(around) => around.with(block),
    };
    quote!(#head #body)
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
        let span = |token: Option<TokenTree>| {
            token.map_or_else(Span::mixed_site, |token| token.span().resolved_at(Span::mixed_site()))
        };
        Self { first: span(tokens.clone().into_iter().next()), last: span(tokens.clone().into_iter().last()) }
    }
}

fn watched(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let returns = without_impl(&handler.watched.returns);
    let (body, told, options) = (watched_body(handler, &returns), told(handler, &returns), options(handler));
    quote_spanned!(Span::mixed_site()=> #private::watch(__call, #body, #told) #options .await)
}

/// The body as a future of its own. `async move` without rebinding: what it captures is not moved once more, so that
/// nothing is in the future twice.
///
/// The edge in front tells the compiler what the body returns; it stands outside the user's own block, whose `use`
/// declarations would change what the type means. What the compiler says of "this block" and "the inferred return type"
/// it shows on the return type.
fn watched_body(handler: &Handler, returns: &Type) -> TokenStream {
    let place = Place::of(&handler.watched.returns.to_token_stream());
    let block = block(handler);
    let leave = quote_spanned!(place.first=> return __returned);
    let tokens = quote_spanned! {Span::mixed_site()=>
        if let ::core::option::Option::Some(__returned) = ::core::option::Option::None::<#returns> {
            #leave;
        }
        #block
    };
    let mut braces = Group::new(Delimiter::Brace, tokens);
    braces.set_span(place.last);
    quote_spanned!(place.first=> async move #braces)
}

/// How result and error are told. The compiler blames a type that cannot be told so on the `_` of its view, which
/// therefore stands in the place of the user's word for it; and a type that is no `Result` on the whole path.
fn told(handler: &Handler, returns: &Type) -> TokenStream {
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
        ErrorView::None => (plain("Untold"), place),
        ErrorView::Display(word) => (plain("AsDisplay"), *word),
        ErrorView::Debug(word) => (plain("AsDebug"), *word),
        ErrorView::With(path) => through(path),
    };
    let result_place = in_place(quote_spanned!(Span::mixed_site()=> _), result_place);
    let error_place = in_place(quote_spanned!(Span::mixed_site()=> _), error_place);
    let told = in_place(quote_spanned!(Span::mixed_site()=> #private::told), place);
    quote_spanned!(place=> #told::<#returns, #result_place, #error_place>(#result, #error))
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
    let block = handler.watched.body.block();
    quote_spanned!(Span::mixed_site()=> (#block))
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

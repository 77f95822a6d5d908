//! Generates the code of an annotated function: the user's signature, and a body that hands the user's body to the
//! runtime.
//!
//! ```text
//! async fn NAME(…) -> RET {
//!     ::postback::__private::announce!(HOW "WEBHOOK"); // registers the function, so that a server can look it up
//!     let __returns = …; // a marker for the type RET; the compiler infers RET from a `return`
//!     return ::postback::__private::begin(move || {
//!         ::postback::__private::capture_whole!(PARAMETERS);
//!         let __call = ::postback::__private::enter(
//!             |__call| __call
//!                 .by_operator(::postback::__private::OperatorCheck(&PARAMETER).is_operator())
//!                 .webhook(&(WEBHOOK)),
//!             |__call| __call.request_id(&(ID)),
//!         );
//!         ::postback::__private::watch(
//!             __call,
//!             async move {
//!                 ::postback::__private::capture_whole!(PARAMETERS);
//!                 if let Some(__returned) = ::postback::__private::never(__returns) { return __returned; }
//!                 ({ BODY })
//!             },
//!             ::postback::__private::checked_views::<_, _, _>(__returns, RESULT, ERROR),
//!         )
//!     }).await;
//! }
//! ```
//!
//! The closure moves the parameters out of the function, because a variable of an `async fn` that was borrowed at
//! any time stays in the future until the function ends. Without the closure, the future could hold a parameter twice.
//! `capture_whole!` makes the closure and the `async` block capture each parameter in one piece and in reverse order.
//! So the parameters are dropped in the same order as in a plain function.
//!
//! A body without an `.await` becomes a closure that `run_sync` runs, so the future does not have to hold the
//! parameters.
//!
//! If a plain function ends in an `async` block, `on_first_poll` and the closure replace that block: nothing runs
//! before the first poll, as in an `async fn`.
//!
//! The generated code has no `#[allow]`, because an `#[allow]` is an error if the user forbids that lint. So the
//! generated code must not trigger any lint.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ExprPath;
use syn::ext::IdentExt;

use super::announcement::announcement;
use super::args::{ErrorView, ResultView};
use super::awaits::may_await;
use super::bindings::Binding;
use super::check::Handler;
use super::impl_trait::without_impl_trait;
use super::rebinding::{with_use_after_rebinding, words};
use super::spans::{SpanRange, group, relocated};

/// Generates the annotated function with its new body.
pub(crate) fn expand(handler: &Handler) -> TokenStream {
    let head = &handler.item.head;
    let body = match &handler.watched.wrapper {
        None => async_fn_body(handler),
        Some(wrapper) => wrapper.with_future(lazy_future(handler)),
    };
    quote!(#head #body)
}

/// Generates the body of an annotated `async fn`.
///
/// The `return` statements in the generated body tell the compiler the return type, and avoid a clippy warning about an
/// implicit return. The generated code does not repeat the user's text of the return type. Otherwise the compiler would
/// report a mistake in this text twice, and would expand a macro in it twice.
fn async_fn_body(handler: &Handler) -> Group {
    let private = handler.runtime.private();
    let returns = at_return_type(handler, &quote_spanned!(Span::mixed_site()=> #private::returns()));
    let begin = at_return_type(handler, &quote_spanned!(Span::mixed_site()=> #private::begin));
    let inner_attributes = &handler.watched.body.inner;
    let capture = capture_all_parameters(handler);
    let enter = enter_statement(handler);
    let can_wait = handler.durable || may_await(&handler.watched.body.tokens);
    let run = if can_wait {
        watch_call(handler, &capture_parameters_of_body(handler), None)
    } else {
        at_once_call(handler, &capture_parameters_of_body(handler))
    };
    let dot_await = can_wait.then(|| quote_spanned!(Span::mixed_site()=> .await));
    let announcement = announcement(handler, can_wait);
    let closure =
        parenthesized_at_return_type(handler, quote_spanned!(Span::mixed_site()=> move || { #capture #enter #run }));
    handler.watched.body.in_user_braces(quote_spanned! {Span::mixed_site()=>
        #(#inner_attributes)*
        #announcement
        let __returns = {
            let (__never, __returns) = #returns;
            if let ::core::option::Option::Some(__returned) = __never {
                return __returned;
            }
            __returns
        };
        return #begin #closure #dot_await;
    })
}

/// Generates the future that replaces the `async` block at the end of a plain function.
///
/// The generated future captures only the variables that the user's `async` block names. It must not capture other
/// parameters, because a parameter may have a shorter lifetime than the future.
fn lazy_future(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let output = without_impl_trait(&handler.watched.output);
    let enter = enter_statement(handler);
    let inner_attributes = &handler.watched.body.inner;
    let run = watch_call(handler, &TokenStream::new(), Some(&quote!(#(#inner_attributes)*)));
    let announcement = announcement(handler, true);
    quote_spanned! {Span::mixed_site()=>
        #private::on_first_poll(move || {
            #announcement
            let __returns = #private::returned::<#output>();
            #enter
            #run
        })
    }
}

/// Generates a call of `capture_whole!`, which makes a closure capture every parameter of the function as a whole
/// value, and not only some of its fields. The parameters are captured in reverse order, so that they are dropped in
/// the same order as in a plain function.
fn capture_all_parameters(handler: &Handler) -> TokenStream {
    capture_statement(handler, |_| true)
}

/// Generates a call of `capture_whole!`, which makes the closure around the user's body capture each parameter as a
/// whole value, and not only some of its fields.
///
/// If the expression `webhook` or `request_id` contains brackets, the expression may move the parameters that it names.
/// So the closure does not capture these parameters, unless the body uses them.
fn capture_parameters_of_body(handler: &Handler) -> TokenStream {
    let may_move = |code: &TokenStream| code.clone().into_iter().any(|token| matches!(token, TokenTree::Group(_)));
    let moved: HashSet<_> =
        [&handler.webhook, &handler.request_id].into_iter().filter(|code| may_move(code)).flat_map(words).collect();
    let used_in_body = words(&handler.watched.body.tokens);
    capture_statement(handler, |name| used_in_body.contains(name) || !moved.contains(name))
}

/// Generates a call of `capture_whole!` for the parameters whose names `is_captured` accepts. The parameters are in
/// reverse order.
fn capture_statement(handler: &Handler, is_captured: impl Fn(&str) -> bool) -> TokenStream {
    let private = handler.runtime.private();
    let parameters = handler.bindings.iter().rev().filter(|binding| is_captured(&binding.name.unraw().to_string()));
    let parameters = parameters.map(|Binding { name, conditions }| quote!(#(#conditions)* #name));
    quote_spanned!(Span::mixed_site()=> #private::capture_whole!(#(#parameters)*);)
}

/// Generates the statement that evaluates the expressions `webhook` and `request_id`.
///
/// Each expression is evaluated in its own closure. The temporary values of the expression, such as a lock guard, are
/// dropped at the end of the statement, so that they are not alive while the user's body runs.
fn enter_statement(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let (webhook, request_id) = (borrowed(&handler.webhook), borrowed(&handler.request_id));
    // The call of `by_operator` comes before the call of `webhook`, because `by_operator` borrows parameters that the
    // webhook expression may move.
    let by_operator = handler.webhook_inputs.by_operator_call(&handler.runtime);
    quote_spanned! {Span::mixed_site()=>
        let __call =
            #private::enter(|__call| __call #by_operator.webhook(#webhook), |__call| __call.request_id(#request_id));
    }
}

/// Generates `&(expression)` at the location of the user's expression, so that the compiler marks the user's expression
/// if its type is wrong.
fn borrowed(expression: &TokenStream) -> TokenStream {
    let location = SpanRange::of(expression);
    let group = group(Delimiter::Parenthesis, expression.clone(), location.last);
    quote_spanned!(location.first=> &#group)
}

/// Generates a call of `watch`. This function makes a future that runs the user's body and reports its outcome.
fn watch_call(handler: &Handler, capture: &TokenStream, inner_attributes: Option<&TokenStream>) -> TokenStream {
    let private = handler.runtime.private();
    let body = body_with_capture(handler, capture, inner_attributes);
    let body = quote_spanned!(return_type_location(handler).first=> async move #body);
    let (views, options) = (views(handler), option_calls(handler));
    quote_spanned!(Span::mixed_site()=> #private::watch(__call, #body, #views) #options)
}

/// Generates a call of `run_sync`. The user's body has no `.await`, so the generated code passes the body to `run_sync`
/// as a closure. `run_sync` calls the closure and reports the outcome.
fn at_once_call(handler: &Handler, capture: &TokenStream) -> TokenStream {
    let private = handler.runtime.private();
    let body = body_with_capture(handler, capture, None);
    let body = quote_spanned!(return_type_location(handler).first=> move || #body);
    let (views, options) = (views(handler), option_calls(handler));
    let run_sync = at_return_type(handler, &quote_spanned!(Span::mixed_site()=> #private::run_sync));
    let run = at_return_type(handler, &quote_spanned!(Span::mixed_site()=> .run()));
    let arguments = parenthesized_at_return_type(handler, quote_spanned!(Span::mixed_site()=> __call, #body, #views));
    quote_spanned!(Span::mixed_site()=> #run_sync #arguments #options #run)
}

/// Returns the spans of the return type, with the user's hygiene. The closure or block around the user's body gets
/// these spans.
///
/// The compiler shows messages about "this block" and "the inferred return type" at the return type. The spans have the
/// user's hygiene, because otherwise the compiler's messages would not name the variables that the closure or block
/// captures.
fn return_type_location(handler: &Handler) -> SpanRange {
    SpanRange::with_user_hygiene(&handler.watched.output.to_token_stream())
}

/// Generates the braces and the content of the closure or `async` block that runs the user's body. The content has no
/// `let parameter = parameter;`, so the future never contains a parameter twice.
///
/// The generated statement `if let … return` before the body never returns. It only tells the compiler which type the
/// body returns.
fn body_with_capture(handler: &Handler, capture: &TokenStream, inner_attributes: Option<&TokenStream>) -> Group {
    let block = user_block(handler);
    let never = never_value(handler);
    let early_return = {
        let location = SpanRange::of(&handler.watched.output.to_token_stream()).first;
        quote_spanned!(location=> return __returned)
    };
    let tokens = quote_spanned! {Span::mixed_site()=>
        #inner_attributes
        #capture
        if let ::core::option::Option::Some(__returned) = #never {
            #early_return;
        }
        #block
    };
    group(Delimiter::Brace, tokens, return_type_location(handler).last)
}

/// Moves the tokens to the location of the return type.
///
/// Every generated expression whose type contains the return type is placed at this location. So all errors of the
/// compiler about the return type have the same location. The compiler shows equal errors at the same location only
/// once.
fn at_return_type(handler: &Handler, tokens: &TokenStream) -> TokenStream {
    relocated(tokens.clone(), return_type_location(handler).first)
}

/// Puts the arguments of a generated call into parentheses. The parentheses are placed at the location of the return
/// type, because the compiler takes the location of a call from its first and last token, and the last token is the
/// closing parenthesis.
fn parenthesized_at_return_type(handler: &Handler, arguments: TokenStream) -> Group {
    let location = Span::mixed_site().located_at(return_type_location(handler).first);
    group(Delimiter::Parenthesis, arguments, location)
}

/// Generates a call of the function `never`. The call always returns `None`. Its type is `Option<T>`, where `T` is the
/// return type of the user's function.
fn never_value(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    at_return_type(handler, &quote_spanned!(Span::mixed_site()=> #private::never(__returns)))
}

/// Generates the call `checked_views::<_, _, _>(…)`. Its last two arguments are the views, which say how a report shows
/// the result and the error.
///
/// The second and the third `_` are the types of the views. If a view does not fit the type of the result or of the
/// error, the compiler marks the `_` of the view. So this `_` is placed at the user's word for the view, such as
/// `display`. If the return type is not a `Result`, the compiler marks the path `checked_views`, which is placed at the
/// return type.
fn views(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let return_type = SpanRange::of(&handler.watched.output.to_token_stream()).first;
    let unit_view = |name: &str| {
        let name = Ident::new(name, Span::mixed_site());
        quote_spanned!(Span::mixed_site()=> #private::#name)
    };
    let function_view = |path: &ExprPath| {
        (quote_spanned!(Span::mixed_site()=> #private::Mapped(#path)), SpanRange::of(&path.to_token_stream()).first)
    };
    let (result, result_location) = match &handler.result {
        ResultView::Json => (unit_view("AsJson"), return_type),
        ResultView::Omitted => (unit_view("Omitted"), return_type),
        ResultView::Function(path) => function_view(path),
    };
    let (error, error_location) = match &handler.error {
        ErrorView::None | ErrorView::Reason => (unit_view("Omitted"), return_type),
        ErrorView::Display(word) => (unit_view("AsDisplay"), *word),
        ErrorView::Debug(word) => (unit_view("AsDebug"), *word),
        ErrorView::Function(path) => function_view(path),
    };
    let result_type = relocated(quote_spanned!(Span::mixed_site()=> _), result_location);
    let error_type = relocated(quote_spanned!(Span::mixed_site()=> _), error_location);
    let checked_views = relocated(quote_spanned!(Span::mixed_site()=> #private::checked_views), return_type);
    quote_spanned!(return_type=> #checked_views::<_, #result_type, #error_type>(__returns, #result, #error))
}

/// Returns the user's body in the user's own braces, inside parentheses.
///
/// Without the parentheses, the compiler would warn of unnecessary braces around a body that is a single expression.
/// The compiler does not warn of these parentheses, because a macro generated them.
fn user_block(handler: &Handler) -> TokenStream {
    let body = &handler.watched.body;
    let names = || &words(&handler.webhook) | &words(&handler.request_id);
    let with_uses = handler.watched.wrapper.as_ref().and_then(|_| {
        with_use_after_rebinding(&body.tokens, &names(), |variable| use_that_never_runs(variable, handler))
    });
    let block = with_uses.map_or_else(|| body.block(), |tokens| body.in_user_braces(tokens));
    quote_spanned!(Span::mixed_site()=> (#block))
}

/// Generates code that uses the variable but never runs, so that the compiler does not warn of an unused variable. The
/// code moves the variable and returns, because a borrow would make the compiler keep the variable alive for longer.
fn use_that_never_runs(variable: &Ident, handler: &Handler) -> TokenStream {
    let never = never_value(handler);
    quote_spanned! {Span::mixed_site()=>
        if let ::core::option::Option::Some(__returned) = #never {
            let _used = #variable;
            return __returned;
        }
    }
}

/// Generates the method calls that pass the user's arguments `on`, `error`, `format` and `durable` to the runtime. An argument
/// with the runtime's default value needs no method call.
fn option_calls(handler: &Handler) -> TokenStream {
    let private = handler.runtime.private();
    let mut calls = TokenStream::new();
    if let Some((first, more)) = handler.on.split_first() {
        let first = outcome_constant(first);
        let more = more.iter().map(outcome_constant);
        calls.extend(quote_spanned! {Span::mixed_site()=>
            .on(#private::Ends::#first #(.with(#private::Ends::#more))*)
        });
    }
    // Unless the user wrote `error = none`, a report of a failure contains the reason, because some failures, such as a
    // panic, have no error value.
    if !matches!(handler.error, ErrorView::None) {
        calls.extend(quote_spanned!(Span::mixed_site()=> .error_reason()));
    }
    if let Some(variant) = &handler.format {
        calls.extend(quote_spanned!(Span::mixed_site()=> .format(#private::Format::#variant)));
    }
    if handler.durable {
        calls.extend(quote_spanned!(Span::mixed_site()=> .durable()));
    }
    calls
}

/// Returns the name of the constant for an outcome that the user listed in `on`, such as `FAILED` for `failed`.
fn outcome_constant(word: &Ident) -> Ident {
    Ident::new(&word.to_string().to_uppercase(), word.span().resolved_at(Span::mixed_site()))
}

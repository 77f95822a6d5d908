//! Checks the rules for the arguments of `#[async_handler]` and for its function. This file neither parses nor
//! generates code.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::Signature;

use super::args::{Args, ErrorView, ResultView, usage};
use super::bindings::{Binding, bindings};
use super::watched_future::{WatchedFuture, Wrapper};
use super::webhook_inputs::WebhookInputs;
use crate::diagnostics::Diagnostics;
use crate::item::Item;
use crate::paths::RuntimeCrate;

/// The user's function and the attribute's arguments after all checks. The generated code is made from this value. If
/// the user's code breaks a rule, the expansion contains the errors instead of the generated code.
pub(crate) struct Handler {
    pub(crate) item: Item,
    pub(crate) watched: WatchedFuture,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) webhook: TokenStream,
    /// The parameters that the expression `webhook` reads, if they are known.
    pub(crate) webhook_inputs: WebhookInputs,
    pub(crate) request_id: TokenStream,
    /// The outcomes that are reported, as the user listed them in `on`. If the list is empty, the runtime reports its
    /// default outcomes.
    pub(crate) on: Vec<Ident>,
    pub(crate) error: ErrorView,
    pub(crate) result: ResultView,
    /// The variant of the runtime's enum `Format`, if the user chose one.
    pub(crate) format: Option<Ident>,
    pub(crate) durable: bool,
    pub(crate) runtime: RuntimeCrate,
}

/// Checks the user's function and the attribute's arguments. Adds an error for each rule that the user's code breaks.
/// Returns `None` if no code can be generated.
pub(crate) fn check(args: Args, mut item: Item, errors: &mut Diagnostics) -> Option<Handler> {
    let watched = WatchedFuture::take(&mut item, errors);
    check_modifiers(&item.signature, errors);
    if let Some(again) = item.attribute("async_handler") {
        errors.on(
            again,
            "`#[async_handler]` is used twice on this function and would report each call twice; remove one of them",
        );
    }
    let webhook = check_webhook(&args, errors);
    let bindings = bindings(&item.signature);
    let request_id = check_request_id(&args, &item.signature, &bindings, errors);
    let (watched, webhook) = (watched?, webhook?);
    let before = watched.wrapper.as_ref().map_or(&[][..], Wrapper::before);
    let webhook_inputs = WebhookInputs::of(&webhook, &item.signature, before);
    Some(Handler {
        webhook_inputs,
        watched,
        webhook,
        request_id: request_id?,
        item,
        bindings,
        on: args.on.unwrap_or_default(),
        error: args.error.unwrap_or(ErrorView::None),
        result: args.result.unwrap_or(ResultView::Json),
        format: args.format,
        durable: args.durable.unwrap_or_default(),
        runtime: RuntimeCrate::new(args.crate_path),
    })
}

fn check_modifiers(signature: &Signature, errors: &mut Diagnostics) {
    if let Some(constness) = &signature.constness {
        errors.on(constness, "a `const fn` cannot be a handler, because it cannot be `async`; write `async fn`");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a handler is called from Rust code; remove `extern`");
    }
    if let Some(variadic) = &signature.variadic {
        errors.on(variadic, "a handler is called from Rust code and cannot be variadic; remove `...`");
    }
}

fn check_webhook(args: &Args, errors: &mut Diagnostics) -> Option<TokenStream> {
    if !args.has("webhook") {
        errors.at(
            Span::call_site(),
            "`webhook` is missing; give the expression that holds the webhook URL, for example \
             `#[async_handler(webhook = config.webhook_url)]`",
        );
    }
    args.webhook.as_ref().map(ToTokens::to_token_stream)
}

fn check_request_id(
    args: &Args,
    signature: &Signature,
    bindings: &[Binding],
    errors: &mut Diagnostics,
) -> Option<TokenStream> {
    if args.has("request_id") {
        return args.request_id.as_ref().map(ToTokens::to_token_stream);
    }
    let found = bindings.iter().find(|binding| binding.has_name("request_id")).map(|binding| &binding.name);
    if found.is_none() {
        errors.on(
            &signature.ident,
            format!(
                "the id for the reports of this function is missing; add a parameter `request_id: RequestId`, or give \
                 the expression that holds the id, for example `{}`",
                usage("request_id")
            ),
        );
    }
    found.map(ToTokens::to_token_stream)
}

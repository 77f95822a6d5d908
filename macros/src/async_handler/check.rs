//! Whether arguments and function can go together: the rules, and nothing else.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::Signature;

use super::args::{Args, ErrorView, ResultView, usage};
use super::bindings::{Binding, bindings};
use super::chosen::Reads;
use super::shape::{Around, Watched};
use crate::diagnostics::Diagnostics;
use crate::item::Item;
use crate::paths::Runtime;

/// All that the expansion needs, and all of it right.
pub(crate) struct Handler {
    pub(crate) item: Item,
    pub(crate) watched: Watched,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) webhook: TokenStream,
    /// What that reads.
    pub(crate) reads: Reads,
    pub(crate) request_id: TokenStream,
    /// Empty: the runtime's own choice.
    pub(crate) on: Vec<Ident>,
    pub(crate) error: ErrorView,
    pub(crate) result: ResultView,
    pub(crate) durable: bool,
    pub(crate) runtime: Runtime,
}

/// Notes every rule that is broken, and makes the handler if none was.
pub(crate) fn check(args: Args, mut item: Item, errors: &mut Diagnostics) -> Option<Handler> {
    let watched = Watched::take(&mut item, errors);
    check_modifiers(&item.signature, errors);
    if let Some(again) = item.attribute("async_handler") {
        errors.on(again, "`#[async_handler]` stands here twice, and would report twice; leave one of them out");
    }
    let webhook = check_webhook(&args, errors);
    let bindings = bindings(&item.signature);
    let request_id = check_request_id(&args, &item.signature, &bindings, errors);
    let (watched, webhook) = (watched?, webhook?);
    let before = watched.around.as_ref().map_or(&[][..], Around::before);
    let reads = Reads::of(&webhook, &item.signature, before);
    Some(Handler {
        reads,
        watched,
        webhook,
        request_id: request_id?,
        item,
        bindings,
        on: args.on.unwrap_or_default(),
        error: args.error.unwrap_or(ErrorView::None),
        result: args.result.unwrap_or(ResultView::Whole),
        durable: args.durable.unwrap_or_default(),
        runtime: Runtime::new(args.runtime),
    })
}

fn check_modifiers(signature: &Signature, errors: &mut Diagnostics) {
    if let Some(constness) = &signature.constness {
        errors.on(constness, "a `const fn` cannot be a handler, for it cannot be `async`: write `async fn`");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a handler is called from Rust; leave the `extern` out");
    }
    if let Some(variadic) = &signature.variadic {
        errors.on(variadic, "a handler is called from Rust and cannot be variadic");
    }
}

fn check_webhook(args: &Args, errors: &mut Diagnostics) -> Option<TokenStream> {
    if !args.has("webhook") {
        errors.at(
            Span::call_site(),
            "`webhook` is missing: say which expression holds the URL, as in \
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
    let found = bindings.iter().find(|binding| binding.is("request_id")).map(|binding| &binding.name);
    if found.is_none() {
        errors.on(
            &signature.ident,
            format!(
                "under which id is this call reported? add a parameter `request_id: RequestId`, or say what holds the \
                 id, as in `{}`",
                usage("request_id")
            ),
        );
    }
    found.map(ToTokens::to_token_stream)
}

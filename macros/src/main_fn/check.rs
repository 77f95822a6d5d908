//! Whether a function can be the program's: the rules, and nothing else.

use syn::{FnArg, LitInt, ReturnType, Safety, Signature};

use super::args::Args;
use crate::diagnostics::Diagnostics;
use crate::item::{Body, Item};
use crate::paths::Runtime;

/// All that the expansion needs, and all of it right.
pub(crate) struct Main {
    pub(crate) item: Item,
    pub(crate) body: Body,
    pub(crate) takes_settings: bool,
    pub(crate) worker_threads: Option<LitInt>,
    pub(crate) runtime: Runtime,
}

/// Notes every rule that is broken, and makes the main function if none was.
pub(crate) fn check(args: Args, mut item: Item, errors: &mut Diagnostics) -> Option<Main> {
    let signature = &item.signature;
    check_alone(&item, errors);
    check_modifiers(signature, errors);
    check_generics(signature, errors);
    let takes_settings = check_parameters(signature, errors);
    if matches!(signature.output, ReturnType::Default) {
        errors.on(
            &signature.ident,
            "the function returns the app: write `-> App<Settings>`, or `-> Result<App<Settings>, Error>`",
        );
    }
    if item.body.is_none() {
        errors.on(&signature.ident, "the function needs a body that makes the app");
    }
    let body = item.body.take()?;
    let runtime = Runtime::new(args.runtime);
    Some(Main { item, body, takes_settings, worker_threads: args.worker_threads, runtime })
}

/// Another attribute of this kind makes a `main` of its own.
fn check_alone(item: &Item, errors: &mut Diagnostics) {
    if let Some(other) = item.attribute("main") {
        errors.on(other, "`#[postback::main]` starts the runtime itself; leave the other `main` attribute out");
    }
    if let Some(other) = item.attribute("async_handler") {
        errors.on(
            other,
            "this function makes the app and is no handler; put `#[async_handler]` on the functions of its routes",
        );
    }
}

fn check_modifiers(signature: &Signature, errors: &mut Diagnostics) {
    if signature.asyncness.is_none() {
        errors.on(
            signature.fn_token,
            "`#[postback::main]` needs an `async fn`; if this is one, then an attribute above has taken the `async` away",
        );
    }
    if let Some(constness) = &signature.constness {
        errors.on(constness, "the function cannot be `const`; leave it out");
    }
    if let Safety::Unsafe(keyword) = &signature.safety {
        errors.on(keyword, "the function is called by safe code; leave `unsafe` out");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "the function is called from Rust; leave the `extern` out");
    }
}

fn check_generics(signature: &Signature, errors: &mut Diagnostics) {
    if !signature.generics.params.is_empty() {
        errors
            .on(&signature.generics, "nobody could say what the parameters are; name the type of the settings itself");
    }
}

/// Whether the function takes the settings.
fn check_parameters(signature: &Signature, errors: &mut Diagnostics) -> bool {
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) => {
            errors.on(receiver, "the program starts with a free function, not with a method");
        }
        Some(FnArg::Typed(_)) | None => {}
    }
    for extra in inputs {
        errors.on(
            extra,
            "the function takes the settings and nothing else; what it needs is made in it, and given to handlers by \
             `App::state`",
        );
    }
    !signature.inputs.is_empty()
}

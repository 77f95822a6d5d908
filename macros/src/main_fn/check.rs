//! Checks the rules for the function under `#[postback::main]`. This file neither parses nor generates code.

use syn::{FnArg, LitInt, ReturnType, Safety, Signature};

use super::args::Args;
use crate::diagnostics::Diagnostics;
use crate::item::{Body, Item};
use crate::paths::RuntimeCrate;

/// The user's function and the attribute's arguments after all checks. The generated code is made from this value. If
/// the user's code breaks a rule, the expansion contains the errors instead of the generated code.
pub(crate) struct MainFunction {
    pub(crate) item: Item,
    pub(crate) body: Body,
    pub(crate) takes_settings: bool,
    pub(crate) worker_threads: Option<LitInt>,
    pub(crate) runtime: RuntimeCrate,
}

/// Checks the user's function and the attribute's arguments. Adds an error for each rule that the user's code breaks.
/// Returns `None` if the function has no body.
pub(crate) fn check(args: Args, mut item: Item, errors: &mut Diagnostics) -> Option<MainFunction> {
    let signature = &item.signature;
    check_other_attributes(&item, errors);
    check_modifiers(signature, errors);
    check_generics(signature, errors);
    let takes_settings = check_parameters(signature, errors);
    if matches!(signature.output, ReturnType::Default) {
        errors.on(
            &signature.ident,
            "the function must return the app; write `-> App<Settings>`, or `-> Result<App<Settings>, Error>`",
        );
    }
    if item.body.is_none() {
        errors.on(&signature.ident, "the function has no body; add a body that makes the app");
    }
    let body = item.body.take()?;
    let runtime = RuntimeCrate::new(args.crate_path);
    Some(MainFunction { item, body, takes_settings, worker_threads: args.worker_threads, runtime })
}

/// Adds an error for another attribute on the function that cannot be combined with `#[postback::main]`. For example,
/// `#[tokio::main]` would generate a second `main`.
fn check_other_attributes(item: &Item, errors: &mut Diagnostics) {
    if let Some(other) = item.attribute("main") {
        errors.on(other, "`#[postback::main]` starts the runtime itself; remove the other `main` attribute");
    }
    if let Some(other) = item.attribute("async_handler") {
        errors.on(
            other,
            "this function makes the app and is not a handler; put `#[async_handler]` on the handlers of its routes",
        );
    }
}

fn check_modifiers(signature: &Signature, errors: &mut Diagnostics) {
    if signature.asyncness.is_none() {
        errors.on(
            signature.fn_token,
            "`#[postback::main]` needs an `async fn`; if you wrote `async`, an attribute above has removed it: remove \
             that attribute, or put it below `#[postback::main]`",
        );
    }
    if let Some(constness) = &signature.constness {
        errors.on(constness, "the function cannot be `const`; remove `const`");
    }
    if let Safety::Unsafe(keyword) = &signature.safety {
        errors.on(keyword, "the function is called from safe code; remove `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "the function is called from Rust code; remove `extern`");
    }
}

fn check_generics(signature: &Signature, errors: &mut Diagnostics) {
    if !signature.generics.params.is_empty() {
        errors.on(
            &signature.generics,
            "the function cannot be generic, because the settings must have one type; name the concrete settings type",
        );
    }
}

/// Checks the parameters of the user's function, and adds an error for each wrong parameter. Returns whether the
/// function has a parameter for the settings.
fn check_parameters(signature: &Signature, errors: &mut Diagnostics) -> bool {
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) => {
            errors.on(
                receiver,
                "`#[postback::main]` needs a free function, not a method; move the function out of the `impl`, and \
                 remove `self`",
            );
        }
        Some(FnArg::Typed(_)) | None => {}
    }
    for extra in inputs {
        errors.on(
            extra,
            "the function takes the settings and no other parameter; make values for handlers in the function, and \
             pass them on with `App::state`",
        );
    }
    !signature.inputs.is_empty()
}

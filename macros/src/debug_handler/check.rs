//! What can be seen of a function that cannot be a handler: the rules, and nothing else.

use proc_macro2::Ident;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, FnArg, GenericArgument, PatType, PathArguments, PathSegment, ReturnType, Safety, Signature, Token, Type,
};

use super::args::Args;
use crate::diagnostics::Diagnostics;
use crate::item::Item;
use crate::paths::Runtime;

/// As many as `Handler` is implemented for.
const MOST_PARAMETERS: usize = 8;

/// All that is asked about.
pub(crate) struct Handler {
    pub(crate) name: Ident,
    /// `#[cfg]`s of the function: what is not compiled is not asked about.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Type,
    pub(crate) settings: Option<Type>,
    pub(crate) runtime: Runtime,
}

pub(crate) struct Parameter {
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) of: Type,
}

/// Notes every rule that is broken, and makes the handler if none was.
pub(crate) fn check(args: Args, item: &Item, errors: &mut Diagnostics) -> Option<Handler> {
    let signature = &item.signature;
    if let Some(again) = item.attribute("debug_handler") {
        errors.on(again, "`#[debug_handler]` stands here twice; leave one of them out");
    }
    check_modifiers(signature, errors);
    check_generics(signature, errors);
    let parameters = check_parameters(&signature.inputs, errors);
    let returns = check_returns(signature, errors);
    let settings = args.settings.or_else(|| parameters.iter().find_map(|parameter| settings(&parameter.of)));
    Some(Handler {
        name: signature.ident.clone(),
        cfgs: cfgs(&item.attributes),
        parameters,
        returns: returns?,
        settings,
        runtime: Runtime::new(args.runtime),
    })
}

fn check_modifiers(signature: &Signature, errors: &mut Diagnostics) {
    if let Some(constness) = &signature.constness {
        errors.on(constness, "a `const fn` cannot be a handler: it cannot be `async`; leave `const` out");
    }
    if let Safety::Unsafe(keyword) = &signature.safety {
        errors.on(keyword, "a handler is called by safe code; leave `unsafe` out");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a handler is called from Rust; leave the `extern` out");
    }
}

fn check_generics(signature: &Signature, errors: &mut Diagnostics) {
    if !signature.generics.params.is_empty() {
        errors.on(
            &signature.generics,
            "`#[debug_handler]` checks one handler, and of this function each use is another; name the types themselves",
        );
    }
}

fn check_parameters(inputs: &Punctuated<FnArg, Token![,]>, errors: &mut Diagnostics) -> Vec<Parameter> {
    let (mut parameters, mut payload) = (Vec::new(), false);
    for input in inputs {
        let typed = match input {
            FnArg::Typed(typed) => typed,
            FnArg::Receiver(receiver) => {
                errors.on(
                    receiver,
                    "a handler is a free function, not a method: give what `self` holds with `App::state(value)`, and \
                     ask for it as `State<T>`",
                );
                continue;
            }
        };
        let cfgs = cfgs(&typed.attrs);
        // One of two that stand for each other cannot be told from one too many.
        if cfgs.is_empty() {
            check_count(typed, parameters.len(), errors);
            if is(&typed.ty, "Payload") {
                if payload {
                    errors.on(
                        &typed.ty,
                        "a request has one payload, and a parameter before this one takes it; ask for one `Payload<T>` \
                         whose `T` has all that is needed",
                    );
                }
                payload = true;
            }
        }
        if matches!(*typed.ty, Type::ImplTrait(_)) {
            errors.on(&typed.ty, "nobody could say which type this is; name the type itself");
        }
        parameters.push(Parameter { cfgs, of: (*typed.ty).clone() });
    }
    parameters
}

fn check_count(parameter: &PatType, before: usize, errors: &mut Diagnostics) {
    if before == MOST_PARAMETERS {
        errors.on(
            parameter,
            "a handler has at most 8 parameters, and this is the ninth; values that are given with `App::state` can be \
             one struct, asked for as one `State<T>`",
        );
    }
}

fn check_returns(signature: &Signature, errors: &mut Diagnostics) -> Option<Type> {
    let is_async = signature.asyncness.is_some();
    match &signature.output {
        ReturnType::Type(_, returns) => {
            if !is_async && !may_be_future(returns) {
                not_async(signature, errors);
            }
            Some((**returns).clone())
        }
        ReturnType::Default => {
            if !is_async {
                not_async(signature, errors);
            }
            errors.on(
                &signature.ident,
                "a handler returns a `Result`: write `-> Result<(), Error>`, or \
                 `-> Result<(), std::convert::Infallible>` if it cannot fail",
            );
            None
        }
    }
}

fn not_async(signature: &Signature, errors: &mut Diagnostics) {
    errors.on(
        signature.fn_token,
        "a handler is an `async fn`: write `async` in front; work that blocks goes into `tokio::task::spawn_blocking`",
    );
}

/// Whether a function that is not `async` may return a future all the same.
fn may_be_future(returns: &Type) -> bool {
    match last(returns) {
        Some(segment) => segment.ident == "Pin" || segment.ident.to_string().ends_with("Future"),
        None => matches!(returns, Type::ImplTrait(_) | Type::Group(_) | Type::Paren(_) | Type::Macro(_)),
    }
}

/// `S`, of `Config<S>`.
fn settings(of: &Type) -> Option<Type> {
    let config = last(of).filter(|segment| segment.ident == "Config")?;
    let PathArguments::AngleBracketed(arguments) = &config.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(settings)) if arguments.args.len() == 1 => Some(settings.clone()),
        _ => None,
    }
}

fn is(of: &Type, name: &str) -> bool {
    last(of).is_some_and(|segment| segment.ident == name)
}

fn last(of: &Type) -> Option<&PathSegment> {
    match of {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

//! Checks the rules for a handler that a macro can see in the function's signature. The compiler checks the rules for
//! types.

use proc_macro2::Ident;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, FnArg, GenericArgument, PatType, PathArguments, PathSegment, ReturnType, Safety, Signature, Token, Type,
};

use super::args::Args;
use crate::diagnostics::Diagnostics;
use crate::item::Item;
use crate::paths::RuntimeCrate;

/// The largest number of parameters for which the runtime implements the trait `Handler`.
const MAX_PARAMETERS: usize = 8;

/// The parameters and the return type of the user's function. The generated code makes the compiler check their types.
pub(crate) struct Handler {
    pub(crate) name: Ident,
    /// The `#[cfg]` attributes of the function. The generated checks get the same attributes, so that the checks exist
    /// only if the function exists.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Type,
    pub(crate) settings: Option<Type>,
    pub(crate) runtime: RuntimeCrate,
}

pub(crate) struct Parameter {
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) ty: Type,
}

/// Checks the rules that can be checked without the compiler, and adds an error for each rule that the user's function
/// breaks. Returns `None` if there are no types that the compiler could check.
pub(crate) fn check(args: Args, item: &Item, errors: &mut Diagnostics) -> Option<Handler> {
    let signature = &item.signature;
    if let Some(again) = item.attribute("debug_handler") {
        errors.on(again, "`#[debug_handler]` is used twice on this function; remove one of them");
    }
    check_modifiers(signature, errors);
    check_generics(signature, errors);
    let parameters = check_parameters(&signature.inputs, errors);
    let returns = check_returns(signature, errors);
    let settings = args.settings.or_else(|| parameters.iter().find_map(|parameter| settings_of_config(&parameter.ty)));
    Some(Handler {
        name: signature.ident.clone(),
        cfgs: cfgs(&item.attributes),
        parameters,
        returns: returns?,
        settings,
        runtime: RuntimeCrate::new(args.crate_path),
    })
}

fn check_modifiers(signature: &Signature, errors: &mut Diagnostics) {
    if let Some(constness) = &signature.constness {
        errors.on(constness, "a `const fn` cannot be a handler, because it cannot be `async`; remove `const`");
    }
    if let Safety::Unsafe(keyword) = &signature.safety {
        errors.on(keyword, "a handler is called from safe code; remove `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        errors.on(abi, "a handler is called from Rust code; remove `extern`");
    }
}

fn check_generics(signature: &Signature, errors: &mut Diagnostics) {
    if !signature.generics.params.is_empty() {
        errors.on(
            &signature.generics,
            "`#[debug_handler]` cannot check a generic function, because its types differ from use to use; name the \
             concrete types",
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
                    "a handler must be a free function, not a method; register what `self` holds with \
                     `App::state(value)`, and take it as a parameter of type `State<T>`",
                );
                continue;
            }
        };
        let cfgs = cfgs(&typed.attrs);
        // Parameters with `#[cfg]` are not counted, because the compiler may remove some of them.
        if cfgs.is_empty() {
            check_count(typed, parameters.len(), errors);
            if last_segment_is(&typed.ty, "Payload") {
                if payload {
                    errors.on(
                        &typed.ty,
                        "a request has only one payload, and an earlier parameter takes it; use one `Payload<T>` whose \
                         `T` has all fields that you need",
                    );
                }
                payload = true;
            }
        }
        if matches!(*typed.ty, Type::ImplTrait(_)) {
            errors.on(
                &typed.ty,
                "a parameter of a handler cannot be an `impl Trait`, because its type must be known; name the concrete \
                 type",
            );
        }
        parameters.push(Parameter { cfgs, ty: (*typed.ty).clone() });
    }
    parameters
}

fn check_count(parameter: &PatType, before: usize, errors: &mut Diagnostics) {
    if before == MAX_PARAMETERS {
        errors.on(
            parameter,
            "a handler has at most 8 parameters, and this is the ninth; put values that you register with `App::state` \
             into one struct, and take it as one `State<T>`",
        );
    }
}

fn check_returns(signature: &Signature, errors: &mut Diagnostics) -> Option<Type> {
    let is_async = signature.asyncness.is_some();
    match &signature.output {
        ReturnType::Type(_, returns) => {
            if !is_async && !may_be_future(returns) {
                add_not_async_error(signature, errors);
            }
            Some((**returns).clone())
        }
        ReturnType::Default => {
            if !is_async {
                add_not_async_error(signature, errors);
            }
            errors.on(
                &signature.ident,
                "a handler must return a `Result`; write `-> Result<(), Error>`, or \
                 `-> Result<(), std::convert::Infallible>` if it cannot fail",
            );
            None
        }
    }
}

fn add_not_async_error(signature: &Signature, errors: &mut Diagnostics) {
    errors.on(
        signature.fn_token,
        "a handler must be an `async fn`; write `async` in front of `fn`, and run blocking work with \
         `tokio::task::spawn_blocking`",
    );
}

/// Whether the return type may be a future. If so, a function without `async` may be a valid handler.
fn may_be_future(returns: &Type) -> bool {
    match last_segment(returns) {
        Some(segment) => segment.ident == "Pin" || segment.ident.to_string().ends_with("Future"),
        None => matches!(returns, Type::ImplTrait(_) | Type::Group(_) | Type::Paren(_) | Type::Macro(_)),
    }
}

/// Returns the type `S`, if the type of a parameter is `Config<S>`; otherwise `None`.
fn settings_of_config(ty: &Type) -> Option<Type> {
    let config = last_segment(ty).filter(|segment| segment.ident == "Config")?;
    let PathArguments::AngleBracketed(arguments) = &config.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(settings)) if arguments.args.len() == 1 => Some(settings.clone()),
        _ => None,
    }
}

fn last_segment_is(ty: &Type, name: &str) -> bool {
    last_segment(ty).is_some_and(|segment| segment.ident == name)
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

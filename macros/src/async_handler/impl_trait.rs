//! Replaces each `impl Trait` in a type with `_`, because `impl Trait` is allowed only in a function signature.

use syn::{AngleBracketedGenericArguments, GenericArgument, PathArguments, Type, parse_quote};

/// Returns the type `of`, with `_` in place of each `impl Trait`.
pub(super) fn without_impl_trait(of: &Type) -> Type {
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
            path.path.segments.iter_mut().for_each(|segment| erase_in_arguments(&mut segment.arguments));
        }
        // Rust does not allow `impl Trait` inside the other kinds of types, so they stay unchanged.
        _ => {}
    }
}

fn erase_in_arguments(arguments: &mut PathArguments) {
    let PathArguments::AngleBracketed(AngleBracketedGenericArguments { args, .. }) = arguments else { return };
    for argument in args {
        if let GenericArgument::Type(of) = argument {
            erase(of);
        }
    }
}

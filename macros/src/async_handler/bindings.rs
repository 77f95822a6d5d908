//! Finds the variables that the parameters of a function declare.

use proc_macro2::{Ident, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, FnArg, Pat, Signature};

/// A variable that a parameter declares, and the `#[cfg]` attributes that decide whether the variable exists.
pub(crate) struct Binding {
    pub(crate) name: Ident,
    pub(crate) conditions: Vec<Attribute>,
}

impl Binding {
    /// Whether the name of the variable is `name`. The name is compared without the prefix `r#` of a raw identifier.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name.unraw() == name
    }
}

/// Returns all variables that the parameters declare, in the order of their declaration. Variables that a macro in a
/// pattern declares are not found.
pub(crate) fn bindings(signature: &Signature) -> Vec<Binding> {
    let mut found = Collector::default();
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => found.with_conditions(&receiver.attrs, |found| {
                found.add(&format_ident!("self", span = receiver.self_token.span));
            }),
            FnArg::Typed(parameter) => {
                found.with_conditions(&parameter.attrs, |found| found.pattern(&parameter.pat));
            }
        }
    }
    found.bindings
}

#[derive(Default)]
struct Collector {
    bindings: Vec<Binding>,
    /// The `#[cfg]` attributes on the patterns that contain the current pattern. Each variable in the current pattern
    /// gets a copy of these attributes.
    conditions: Vec<Attribute>,
}

impl Collector {
    fn add(&mut self, name: &Ident) {
        self.bindings.push(Binding { name: name.clone(), conditions: self.conditions.clone() });
    }

    /// Adds the `#[cfg]` attributes in `attributes` to `self.conditions`, runs `find`, and then removes the added
    /// attributes.
    fn with_conditions(&mut self, attributes: &[Attribute], find: impl FnOnce(&mut Self)) {
        let outside = self.conditions.len();
        self.conditions.extend(attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned());
        find(self);
        self.conditions.truncate(outside);
    }

    fn patterns<'a>(&mut self, patterns: impl IntoIterator<Item = &'a Pat>) {
        patterns.into_iter().for_each(|pattern| self.pattern(pattern));
    }

    fn pattern(&mut self, pattern: &Pat) {
        match pattern {
            Pat::Ident(binding) => {
                self.add(&binding.ident);
                self.patterns(binding.subpat.iter().map(|(_, pattern)| &**pattern));
            }
            Pat::Tuple(pattern) => self.patterns(&pattern.elems),
            Pat::TupleStruct(pattern) => self.patterns(&pattern.elems),
            Pat::Slice(pattern) => self.patterns(&pattern.elems),
            Pat::Struct(pattern) => {
                for field in &pattern.fields {
                    self.with_conditions(&field.attrs, |found| found.pattern(&field.pat));
                }
            }
            // All alternatives of a pattern `A | B` declare the same variables, so only the first alternative is
            // searched.
            Pat::Or(pattern) => self.patterns(pattern.cases.first()),
            Pat::Reference(pattern) => self.pattern(&pattern.pat),
            Pat::Paren(pattern) => self.pattern(&pattern.pat),
            Pat::Type(pattern) => self.pattern(&pattern.pat),
            Pat::Verbatim(tokens) => {
                if let Some(pattern) = inner_of_box_pattern(tokens) {
                    self.pattern(&pattern);
                }
            }
            _ => {}
        }
    }
}

/// Returns the pattern `P`, if the tokens are the unstable pattern `box P`; otherwise `None`.
fn inner_of_box_pattern(tokens: &impl ToTokens) -> Option<Pat> {
    let mut tokens = tokens.to_token_stream().into_iter();
    match tokens.next()? {
        TokenTree::Ident(word) if word == "box" => {}
        _ => return None,
    }
    let rest: proc_macro2::TokenStream = tokens.collect();
    (|input: ParseStream<'_>| Pat::parse_multi(input)).parse2(quote!(#rest)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(signature: &str) -> Vec<String> {
        bindings(&syn::parse_str(signature).unwrap()).iter().map(|binding| binding.name.to_string()).collect()
    }

    #[test]
    fn every_pattern_is_looked_into() {
        for (parameter, names) in [
            ("a: A", vec!["a"]),
            ("mut a: A", vec!["a"]),
            ("ref mut a: A", vec!["a"]),
            ("r#a: A", vec!["r#a"]),
            ("self: Arc<Self>", vec!["self"]),
            ("&mut self", vec!["self"]),
            ("(a, (mut b, ref c), .., _): T", vec!["a", "b", "c"]),
            ("T(a, U(b)): T", vec!["a", "b"]),
            ("[a, b, ..]: [u64; 9]", vec!["a", "b"]),
            ("[a, rest @ ..]: [u64; 9]", vec!["a", "rest"]),
            ("T { a, b: c, ref d, e: U { f }, .. }: T", vec!["a", "c", "d", "f"]),
            ("ref whole @ T { a, .. }: T", vec!["whole", "a"]),
            ("(Ok((a, _)) | Err((_, a))): R", vec!["a"]),
            ("&(a, &mut b): &(A, &mut B)", vec!["a", "b"]),
            ("box a: Box<A>", vec!["a"]),
            ("T { box a, b: box (c, d) }: T", vec!["a", "c", "d"]),
            ("_: A", vec![]),
            ("m!(a): A", vec![]),
        ] {
            assert_eq!(bound(&format!("async fn f({parameter})")), names, "{parameter}");
        }
    }

    #[test]
    fn what_a_variable_depends_on_goes_with_it() {
        let signature = "async fn f(#[cfg(a)] T { #[cfg(b)] x, y }: T, #[allow(c)] z: Z)";
        let found = bindings(&syn::parse_str(signature).unwrap());
        let shown: Vec<_> = found.iter().map(|found| (found.name.to_string(), found.conditions.len())).collect();
        assert_eq!(shown, [("x".to_owned(), 2), ("y".to_owned(), 1), ("z".to_owned(), 0)]);
    }
}

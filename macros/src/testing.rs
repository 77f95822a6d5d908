//! Helpers for the unit tests of all three attributes. They expand an attribute and return the formatted code or the
//! error messages.

use proc_macro2::{Group, TokenStream, TokenTree};

/// A function that expands an attribute. Its first argument is the tokens of the attribute's arguments. Its second
/// argument is the tokens of the item with the attribute.
pub(crate) type Attribute = fn(TokenStream, &TokenStream) -> TokenStream;

fn expand(attribute: Attribute, args: &str, item: &str) -> TokenStream {
    attribute(args.parse().unwrap(), &item.parse().unwrap())
}

/// Expands an attribute, and returns the generated code as text that `prettyplease` has formatted.
pub(crate) fn expanded(attribute: Attribute, args: &str, item: &str) -> String {
    let file = syn::parse2(expand(attribute, args, item)).unwrap();
    prettyplease::unparse(&file)
}

/// Expands an attribute, and returns the messages of all errors in the expansion. Asserts that the expansion contains
/// the unchanged item.
pub(crate) fn mistakes(attribute: Attribute, args: &str, item: &str) -> Vec<String> {
    let expanded = expand(attribute, args, item).to_string();
    let unchanged = item.parse::<TokenStream>().unwrap().to_string();
    assert!(expanded.contains(&unchanged), "{expanded}");
    let messages = expanded.split("compile_error ! {").skip(1).map(|rest| {
        let message = rest.split("\" }").next().unwrap().trim_start();
        syn::parse_str::<syn::LitStr>(&format!("{message}\"")).unwrap().value()
    });
    let messages: Vec<_> = messages.collect();
    assert!(!messages.is_empty(), "the attribute found no mistake: {expanded}");
    messages
}

/// Returns all tokens as one list of strings. Instead of a group, the list has the group's opening delimiter, the
/// tokens inside the group, and the closing delimiter.
pub(crate) fn flat(tokens: &TokenStream) -> Vec<String> {
    let mut all = Vec::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Group(group) => {
                all.push(format!("open {:?}", group.delimiter()));
                all.extend(flat(&group.stream()));
                all.push(format!("close {:?}", group.delimiter()));
            }
            other => all.push(other.to_string()),
        }
    }
    all
}

/// Whether the expansion contains all tokens of the item, in the same order.
pub(crate) fn survives(item: &TokenStream, expanded: &TokenStream) -> bool {
    let mut expanded = flat(expanded).into_iter();
    flat(item).iter().all(|token| expanded.any(|other| other == *token))
}

/// Returns the first `count - 1` tokens, or no tokens if `count` is 0. A group counts as one token, and each token
/// inside the group counts as one more. If the last token is inside a group, the group keeps its closing delimiter.
pub(crate) fn cut(tokens: &TokenStream, mut count: usize) -> TokenStream {
    filtered(tokens, &mut || {
        count = count.saturating_sub(1);
        count > 0
    })
}

/// Returns all tokens except those at the given indexes. If a group is left out, the tokens inside the group are left
/// out with it.
pub(crate) fn without(tokens: &TokenStream, indexes: &[usize]) -> TokenStream {
    let mut index = 0;
    filtered(tokens, &mut || {
        index += 1;
        !indexes.contains(&(index - 1))
    })
}

/// Calls `keep` once for each token, and returns the tokens for which `keep` returns `true`. The tokens inside a group
/// are filtered in the same way. If a group is left out, the tokens inside the group are left out with it.
fn filtered(tokens: &TokenStream, keep: &mut impl FnMut() -> bool) -> TokenStream {
    let kept = tokens.clone().into_iter().filter_map(|token| match token {
        _ if !keep() => None,
        TokenTree::Group(group) => {
            let mut rest = Group::new(group.delimiter(), filtered(&group.stream(), keep));
            rest.set_span(group.span());
            Some(rest.into())
        }
        other => Some(other),
    });
    kept.collect()
}

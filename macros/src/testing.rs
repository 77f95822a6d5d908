//! Helpers for the unit tests of all three attributes. They expand an attribute and return the formatted code or the
//! error messages.

use proc_macro2::{Group, TokenStream, TokenTree};

/// A function that expands an attribute. Its arguments are the tokens of the attribute's arguments and of the item.
pub(crate) type Attribute = fn(TokenStream, &TokenStream) -> TokenStream;

fn expand(attribute: Attribute, args: &str, item: &str) -> TokenStream {
    attribute(args.parse().unwrap(), &item.parse().unwrap())
}

/// Returns the generated code, formatted by `prettyplease`.
pub(crate) fn expanded(attribute: Attribute, args: &str, item: &str) -> String {
    let file = syn::parse2(expand(attribute, args, item)).unwrap();
    prettyplease::unparse(&file)
}

/// Returns the messages of all errors in the expansion. Asserts that the expansion still has the unchanged item in it.
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

/// Returns all tokens in one list. The list has the delimiters of each group and the tokens inside the group, instead
/// of the group.
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

/// Whether all tokens of the item are in the expansion, in the order of the item.
pub(crate) fn survives(item: &TokenStream, expanded: &TokenStream) -> bool {
    let mut expanded = flat(expanded).into_iter();
    flat(item).iter().all(|token| expanded.any(|other| other == *token))
}

/// Returns the first `count - 1` tokens, or no tokens if `count` is 0. A group counts as one token plus the tokens in
/// it. If a group is cut in the middle, its closing delimiter stays.
pub(crate) fn cut(tokens: &TokenStream, mut count: usize) -> TokenStream {
    filtered(tokens, &mut || {
        count = count.saturating_sub(1);
        count > 0
    })
}

/// Returns the tokens without those that have these indexes. If a group is left out, its content is left out too.
pub(crate) fn without(tokens: &TokenStream, indexes: &[usize]) -> TokenStream {
    let mut index = 0;
    filtered(tokens, &mut || {
        index += 1;
        !indexes.contains(&(index - 1))
    })
}

/// Returns the tokens for which `keep` returns `true`, also inside groups.
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

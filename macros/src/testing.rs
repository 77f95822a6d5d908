//! What the tests of both attributes need: source in, formatted source or messages out.

use proc_macro2::{Group, TokenStream, TokenTree};

/// An attribute as a function of its arguments and its item.
pub(crate) type Attribute = fn(TokenStream, &TokenStream) -> TokenStream;

fn expand(attribute: Attribute, args: &str, item: &str) -> TokenStream {
    attribute(args.parse().unwrap(), &item.parse().unwrap())
}

/// The generated code as one would write it.
pub(crate) fn expanded(attribute: Attribute, args: &str, item: &str) -> String {
    let file = syn::parse2(expand(attribute, args, item)).unwrap();
    prettyplease::unparse(&file)
}

/// The messages of the mistakes, after which the item is still there.
pub(crate) fn mistakes(attribute: Attribute, args: &str, item: &str) -> Vec<String> {
    let expanded = expand(attribute, args, item).to_string();
    let unchanged = item.parse::<TokenStream>().unwrap().to_string();
    assert!(expanded.contains(&unchanged), "{expanded}");
    let messages = expanded.split("compile_error ! {").skip(1).map(|rest| {
        let message = rest.split("\" }").next().unwrap().trim_start();
        syn::parse_str::<syn::LitStr>(&format!("{message}\"")).unwrap().value()
    });
    let messages: Vec<_> = messages.collect();
    assert!(!messages.is_empty(), "no mistake was found: {expanded}");
    messages
}

/// Each token, those in groups and the delimiters too.
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

/// Whether all tokens of the item are in what became of it, in their order.
pub(crate) fn survives(item: &TokenStream, expanded: &TokenStream) -> bool {
    let mut expanded = flat(expanded).into_iter();
    flat(item).iter().all(|token| expanded.any(|other| other == *token))
}

/// The first so many tokens, where a group counts as one more than its content; it ends where it is cut.
pub(crate) fn cut(tokens: &TokenStream, mut at: usize) -> TokenStream {
    kept(tokens, &mut || {
        at = at.saturating_sub(1);
        at > 0
    })
}

/// All but the tokens at these places; a group goes with what is in it.
pub(crate) fn without(tokens: &TokenStream, places: &[usize]) -> TokenStream {
    let mut place = 0;
    kept(tokens, &mut || {
        place += 1;
        !places.contains(&(place - 1))
    })
}

fn kept(tokens: &TokenStream, keep: &mut impl FnMut() -> bool) -> TokenStream {
    let kept = tokens.clone().into_iter().filter_map(|token| match token {
        _ if !keep() => None,
        TokenTree::Group(group) => {
            let mut rest = Group::new(group.delimiter(), kept(&group.stream(), keep));
            rest.set_span(group.span());
            Some(rest.into())
        }
        other => Some(other),
    });
    kept.collect()
}

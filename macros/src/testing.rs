//! What the tests of both attributes need: source in, formatted source or messages out.

use proc_macro2::TokenStream;

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

//! Tests that expand half-typed arguments and functions, as an editor passes them on while the user types.
//!
//! A brace or a quote is never missing here: the lexer rejects such code before the attribute is expanded.

use proc_macro2::TokenStream;

use super::{SMALL, mistakes};
use crate::async_handler::async_handler;
use crate::testing::{cut, flat, survives, without};

const ARGS: &str = "webhook = config.webhook_url(1).await, request_id = \"id.0\", on = [completed, failed], \
                    error = a::b, result = false, durable = true, crate = ::pb";

const ITEMS: [&str; 5] = [
    "#[doc = \"x\"] pub(in a::b) async fn f<'a, T: A<B = C> + 'a, const N: usize>(&self, (a, b): (A, &'a B), \
     request_id: u8) -> Result<impl C, D<'a>> where T: E { #![allow(x)] let y = self.z()?; y. }",
    "fn f(request_id: u8) -> Pin<Box<dyn Future<Output = R<T>> + Send + '_>> { let a = b; \
     Box::pin(async { a.await }) }",
    "unsafe fn f(request_id: u8) -> impl Future<Output = R> + use<> { async move { c } }",
    "async fn f(request_id: u8) -> R;",
    "const extern \"C\" fn f(Self { request_id, .. }: Self, ...) {}",
];

#[test]
fn the_lexer_takes_neither_an_open_quote_nor_an_open_brace() {
    for source in ["webhook = \"config", "webhook = f(", "async fn f() {", "async fn f() }"] {
        assert!(source.parse::<TokenStream>().is_err(), "{source}");
    }
}

#[test]
fn the_function_survives_what_is_half_typed() {
    for args in
        ["webhook = config.", "webhook = \"config.\"", "webhook =", "web", "webhook = config.webhook_url, err", ","]
    {
        let item: TokenStream = SMALL.parse().unwrap();
        let expanded = async_handler(args.parse().unwrap(), &item).to_string();
        assert!(expanded.starts_with(&item.to_string()) && expanded.contains("compile_error"), "{expanded}");
    }
    for item in [
        "async fn f(request_id: u8) -> R",
        "async fn f(request_id: u8) ->",
        "async fn f(request_id: u8, config:) -> R {}",
        "async fn f(request_id: u8) -> Result<u8, {}",
        "async fn f",
        "pub async",
        "async fn f<T: >(request_id: u8) -> R",
    ] {
        assert!(!mistakes("webhook = config.webhook_url", item).is_empty(), "{item}");
    }
    for body in ["config.", "let x =", "let x = 1 match", "if", "return", "x. ; y"] {
        let item = format!("async fn f(request_id: u8) -> R {{ {body} }}");
        let expanded = async_handler("webhook = url".parse().unwrap(), &item.parse().unwrap()).to_string();
        assert!(expanded.contains(&format!("({{ {} }})", body.parse::<TokenStream>().unwrap())), "{expanded}");
    }
}

#[test]
fn a_placeholder_that_an_editor_puts_where_one_types_is_in_the_expansion() {
    // When the user types a dot, the editor inserts the word `placeholder` after it and expands the attribute. In the
    // expansion, the editor finds the type of the expression before the dot, and suggests the fields and methods of
    // this type.
    for args in ["webhook = config.placeholder", "webhook = url, request_id = config.placeholder"] {
        let expanded = async_handler(args.parse().unwrap(), &SMALL.parse().unwrap()).to_string();
        assert!(expanded.contains("& (config . placeholder)"), "{expanded}");
    }
}

/// Asserts that the expansion does not panic, and that it contains all tokens of the user's function in the same order.
fn assert_function_survives(args: &TokenStream, item: &TokenStream) {
    let expanded = async_handler(args.clone(), item);
    assert!(survives(item, &expanded), "#[async_handler({args})] {item}\nbecame\n{expanded}");
}

#[test]
fn the_function_survives_arguments_that_end_anywhere_or_lack_any_token() {
    let (args, item) = (ARGS.parse().unwrap(), SMALL.parse().unwrap());
    for at in 0..=flat(&args).len() {
        assert_function_survives(&cut(&args, at), &item);
        assert_function_survives(&without(&args, &[at]), &item);
        for second in 0..at {
            assert_function_survives(&without(&args, &[second, at]), &item);
        }
    }
}

#[test]
fn the_function_survives_if_it_ends_anywhere_or_lacks_any_token() {
    let args = "webhook = url".parse().unwrap();
    for item in ITEMS {
        let item = item.parse().unwrap();
        for at in 0..=flat(&item).len() {
            assert_function_survives(&args, &cut(&item, at));
            assert_function_survives(&args, &without(&item, &[at]));
            for second in 0..at {
                assert_function_survives(&args, &without(&item, &[second, at]));
            }
        }
    }
}

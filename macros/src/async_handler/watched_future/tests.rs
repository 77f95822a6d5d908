//! Tests which plain functions count as functions that return an `async` block, and what is generated for them.

use insta::assert_snapshot;

use super::*;
use crate::testing;

fn tail(body: &str) -> Option<TailExpression> {
    TailExpression::of(&body.parse().unwrap())
}

fn output_of(of: &str) -> Option<String> {
    output_of_future(&syn::parse_str(of).unwrap()).map(|output| output.to_token_stream().to_string())
}

#[test]
fn an_async_block_at_the_end_is_found() {
    for body in [
        "async { 1 }",
        "async move { 1 }",
        "Box::pin(async move { 1 })",
        "::std::boxed::Box::pin(async { 1 },)",
        "pin(async move { 1 })",
        "let a = b; async move { 1 }",
        "if a { b() } async move { 1 }",
        "use a::b; let c = d. ; Box::pin(async move { 1 })",
    ] {
        let found = tail(body).unwrap_or_else(|| panic!("{body}"));
        assert_eq!(found.block.to_string(), "{ 1 }", "{body}");
    }
}

#[test]
fn what_only_has_one_in_it_is_left_alone() {
    for body in [
        "",
        "async move { 1 };",
        "let a = async move { 1 }",
        "return async move { 1 }",
        "a(async move { 1 })",
        "a.pin(async move { 1 })",
        "Box::pin(async move { 1 }).map(b)",
        "Box::pin(wrap(async move { 1 }))",
        "Box::pin(async move { 1 }, 2)",
        "wrap(a, async move { 1 })",
        "async move || { 1 }",
        "a { 1 }",
        "if a { b } else { c }",
    ] {
        assert!(tail(body).is_none(), "{body}");
    }
}

#[test]
fn the_output_is_read_off_the_type_wherever_it_is_written() {
    for of in [
        "impl Future<Output = R<T>>",
        "impl Future<Output = R<T>> + Send + 'a + use<'a, T>",
        "impl Send + core::future::Future<Output = R<T>>",
        "Pin<Box<dyn Future<Output = R<T>> + Send + '_>>",
        "::std::pin::Pin<Own<dyn ::std::future::Future<Output = R<T>>, Allocator>>",
        "(Pin<Box<(dyn Future<Output = R<T>> + 'a)>>)",
    ] {
        assert_eq!(output_of(of).as_deref(), Some("R < T >"), "{of}");
    }
    let by_trait = "< BoxFuture < 'a , R > as :: core :: future :: Future > :: Output";
    assert_eq!(output_of("BoxFuture<'a, R>").as_deref(), Some(by_trait));
    assert_eq!(output_of("impl Later"), None);
}

#[test]
fn what_async_trait_makes_of_a_method_is_watched_inside_of_its_block() {
    let item = "
        fn render<'life0, 'async_trait>(
            &'life0 self, request_id: u8,
        ) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = Result<u8, E>> + ::core::marker::Send + 'async_trait>>
        where 'life0: 'async_trait, Self: 'async_trait {
            #![expect(x)]
            before();
            Box::pin(async move {
                let __self = self;
                let __ret: Result<u8, E> = { __self.render() };
                __ret
            })
        }
    ";
    let attribute = super::super::async_handler;
    assert_snapshot!(testing::expanded(attribute, "webhook = self.url", item), @r#"
    fn render<'life0, 'async_trait>(
        &'life0 self,
        request_id: u8,
    ) -> ::core::pin::Pin<
        Box<
            dyn ::core::future::Future<
                Output = Result<u8, E>,
            > + ::core::marker::Send + 'async_trait,
        >,
    >
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        #![expect(x)]
        before();
        Box::pin(
            ::postback::__private::on_first_poll(move || {
                ::postback::__private::announce!(Impossible Impure "self.url");
                let __returns = ::postback::__private::returned::<Result<u8, E>>();
                let __call = ::postback::__private::enter(
                    |__call| __call.webhook(&(self.url)),
                    |__call| __call.request_id(&(request_id)),
                );
                ::postback::__private::watch(
                    __call,
                    async move {
                        if let ::core::option::Option::Some(__returned) = ::postback::__private::never(
                            __returns,
                        ) {
                            return __returned;
                        }
                        ({
                            let __self = self;
                            let __ret: Result<u8, E> = { __self.render() };
                            __ret
                        })
                    },
                    ::postback::__private::checked_views::<
                        _,
                        _,
                        _,
                    >(
                        __returns,
                        ::postback::__private::AsJson,
                        ::postback::__private::Omitted,
                    ),
                )
            }),
        )
    }
    "#);
}

//! Tests the generated code of `#[async_handler]` as formatted text, and the message for each mistake.

use insta::assert_snapshot;

use crate::testing;

fn expanded(args: &str, item: &str) -> String {
    testing::expanded(super::async_handler, args, item)
}

fn mistakes(args: &str, item: &str) -> Vec<String> {
    testing::mistakes(super::async_handler, args, item)
}

fn mistake(args: &str, item: &str) -> String {
    let [only] = mistakes(args, item).try_into().unwrap();
    only
}

const SMALL: &str = "
    /// Greets.
    pub async fn greet(config: Config, request_id: RequestId) -> Result<Greeting, Error> {
        Ok(config.greet()?)
    }
";

const FULL_ARGS: &str = r#"
    webhook = "self.hook.url()",
    request_id = format_args!("{}-{}", self.name, part),
    on = [completed, failed, dropped],
    error = display,
    result = summary::of,
    format = runpod,
    durable = true,
    crate = crate::reexported,
"#;

const FULL: &str = "
    #[must_use]
    async unsafe fn render<'a, T: Shape>(&'a mut self, part: T) -> io::Result<Vec<impl Shape + 'a>> where T: 'a {
        #![expect(unused_variables)]
        todo!()
    }
";

#[test]
fn the_expansion_with_the_fewest_arguments() {
    assert_snapshot!(expanded("webhook = config.webhook_url", SMALL), @r#"
    /// Greets.
    pub async fn greet(config: Config, request_id: RequestId) -> Result<Greeting, Error> {
        ::postback::__private::announce!(ByUnwind Plain "config.webhook_url");
        let __returns = {
            let (__never, __returns) = ::postback::__private::returns();
            if let ::core::option::Option::Some(__returned) = __never {
                return __returned;
            }
            __returns
        };
        return ::postback::__private::begin(move || {
            ::postback::__private::capture_whole!(request_id config);
            let __call = ::postback::__private::enter(
                |__call| {
                    __call
                        .by_operator(
                            ::postback::__private::OperatorCheck(&config).is_operator(),
                        )
                        .webhook(&(config.webhook_url))
                },
                |__call| __call.request_id(&(request_id)),
            );
            ::postback::__private::run_sync(
                    __call,
                    move || {
                        ::postback::__private::capture_whole!(request_id config);
                        if let ::core::option::Option::Some(__returned) = ::postback::__private::never(
                            __returns,
                        ) {
                            return __returned;
                        }
                        ({ Ok(config.greet()?) })
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
                .run()
        });
    }
    "#);
}

#[test]
fn the_expansion_with_all_arguments() {
    assert_snapshot!(expanded(FULL_ARGS, FULL), @r#"
    #[must_use]
    async unsafe fn render<'a, T: Shape>(
        &'a mut self,
        part: T,
    ) -> io::Result<Vec<impl Shape + 'a>>
    where
        T: 'a,
    {
        #![expect(unused_variables)]
        crate::reexported::__private::announce!(ByDrop Impure "self.hook.url()");
        let __returns = {
            let (__never, __returns) = crate::reexported::__private::returns();
            if let ::core::option::Option::Some(__returned) = __never {
                return __returned;
            }
            __returns
        };
        return crate::reexported::__private::begin(move || {
                crate::reexported::__private::capture_whole!(part self);
                let __call = crate::reexported::__private::enter(
                    |__call| __call.webhook(&(self.hook.url())),
                    |__call| __call.request_id(&(format_args!("{}-{}", self.name, part))),
                );
                crate::reexported::__private::watch(
                        __call,
                        async move {
                            crate::reexported::__private::capture_whole!();
                            if let ::core::option::Option::Some(__returned) = crate::reexported::__private::never(
                                __returns,
                            ) {
                                return __returned;
                            }
                            ({ todo!() })
                        },
                        crate::reexported::__private::checked_views::<
                            _,
                            _,
                            _,
                        >(
                            __returns,
                            crate::reexported::__private::Mapped(summary::of),
                            crate::reexported::__private::AsDisplay,
                        ),
                    )
                    .on(
                        crate::reexported::__private::Ends::COMPLETED
                            .with(crate::reexported::__private::Ends::FAILED)
                            .with(crate::reexported::__private::Ends::DROPPED),
                    )
                    .error_reason()
                    .format(crate::reexported::__private::Format::RunPod)
                    .durable()
            })
            .await;
    }
    "#);
}

#[test]
fn arguments_with_default_values_change_nothing() {
    let defaults =
        "webhook = config.webhook_url, request_id = request_id, error = none, result = true, durable = false";
    assert_eq!(expanded(defaults, SMALL), expanded("webhook = \"config.webhook_url\"", SMALL));
}

#[test]
fn every_error_view_except_none_reports_the_reason() {
    for (error, view) in [
        ("none", "::postback::__private::Omitted"),
        ("reason", "::postback::__private::Omitted"),
        ("display", "::postback::__private::AsDisplay"),
        ("debug", "::postback::__private::AsDebug"),
        ("shown::error", "::postback::__private::Mapped(shown::error)"),
        ("self::reason", "::postback::__private::Mapped(self::reason)"),
    ] {
        let expanded = expanded(&format!("webhook = config.webhook_url, error = {error}"), SMALL);
        assert!(expanded.contains(view), "{error}: {expanded}");
        assert_eq!(expanded.contains(".error_reason()"), error != "none", "{error}: {expanded}");
    }
}

#[test]
fn the_body_is_not_parsed() {
    let item = "async fn f(request_id: u8) -> R { config. }";
    let expanded = super::async_handler("webhook = u".parse().unwrap(), &item.parse().unwrap()).to_string();
    assert!(expanded.contains("({ config . })"), "{expanded}");
}

#[test]
fn the_id_is_found_in_a_pattern() {
    for parameter in ["request_id: T", "mut request_id: T", "RequestId(request_id): T", "(_, W { request_id, .. }): T"]
    {
        let item = format!("async fn f({parameter}) -> R {{}}");
        assert!(expanded("webhook = u", &item).contains("request_id(&(request_id))"), "{parameter}");
    }
}

#[test]
fn a_string_is_the_string_form_only_where_it_stands_alone() {
    let webhook = |value: &str| {
        let all = expanded(&format!("webhook = {value}"), SMALL);
        let from = all.split(".webhook(&(").nth(1).unwrap();
        from.split(")),").next().unwrap().to_owned()
    };
    assert_eq!(webhook(r#""a.b""#), "a.b");
    assert_eq!(webhook(r#""a.b","#), "a.b");
    assert_eq!(webhook(r##"r#"f("x", y)"#"##), r#"f("x", y)"#);
    assert_eq!(webhook(r#""a.b".to_owned()"#), r#""a.b".to_owned()"#);
    assert_eq!(webhook(r#""\"https://example.com\"""#), r#""https://example.com""#);
    assert_eq!(webhook("f::<A, B>(x)"), "f::<A, B>(x)");
    assert_eq!(webhook("concat!(\"a\", \"b\")"), "concat!(\"a\", \"b\")");
}

#[test]
fn blocks_conditions_and_macros_are_expressions_too() {
    for webhook in ["{ let url = a; url }", "if a { b } else { c }", "env!(\"URL\")", "&*URL", "Self::url(1, 2)"] {
        let expanded = expanded(&format!("webhook = {webhook}, on = [failed]"), SMALL);
        assert!(!expanded.contains("compile_error"), "{expanded}");
    }
}

#[test]
fn a_method_that_can_be_specialised_keeps_its_default() {
    let item = "default async fn f(&self, request_id: u8) -> R {}";
    let expanded = super::async_handler("webhook = self.url".parse().unwrap(), &item.parse().unwrap()).to_string();
    assert!(
        expanded
            .starts_with("default async fn f (& self , request_id : u8) -> R { :: postback :: __private :: announce"),
        "{expanded}"
    );
}

#[test]
fn a_missing_comma_is_reported_once() {
    for (args, message) in [
        ("webhook = a request_id = 1", "expected `,` after the value of `webhook`"),
        ("webhook = f(1 2), request_id = 1", "the value of `webhook` cannot be read: expected `,`"),
        ("webhook = [a b], request_id = 1", "the value of `webhook` cannot be read: expected `,` or `;`"),
        ("webhook = f::<A, B>(x y), request_id = 1", "the value of `webhook` cannot be read: expected `,`"),
        ("webhook = a, request_id = 1, on = [completed failed]", "the value of `on` cannot be read: expected `,`"),
    ] {
        let found = mistake(args, "async fn f() -> R {}");
        assert!(found.starts_with(message), "{args}: {found}");
    }
}

#[test]
fn all_mistakes_are_reported_together() {
    let found =
        mistakes("webhok = a, on = [complete], durable = 1, webhook = b?, webhook = c,, crate = pb", "fn f() {}");
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn each_wrong_argument_says_what_to_write() {
    for (args, message) in [
        ("", "`webhook` is missing; give the expression that holds the webhook URL"),
        ("webhook", "`webhook` needs a value: write `webhook = config.webhook_url`"),
        ("webhook(a)", "`webhook` needs a value"),
        ("webhook == a", "`webhook` needs a value"),
        ("webhook =", "the value of `webhook` is missing"),
        ("webhook = , on = [failed]", "the value of `webhook` is missing"),
        ("webhook = a, request_id =", "the value of `request_id` is missing: write `request_id = request.id`"),
        ("webhook = \"\"", "it is empty; write `webhook = config.webhook_url`"),
        (
            "webhook = \"https://example.com\"",
            r#"put the URL in a second pair of quotes: `webhook = "\"https://example.com\""`"#,
        ),
        ("\"config.url\"", "expected `key = value`, for example `webhook = config.webhook_url`"),
        ("webhook = a,, durable = true", "expected `key = value`"),
        ("webhook = config.", "cannot be read: expected identifier or integer"),
        ("webhook = \"config.\"", "the string cannot be parsed as an expression: expected identifier or integer"),
        ("webhook = \"x\"abc", "unexpected suffix `abc`"),
        ("webhook = a b, durable = true", "expected `,` after the value of `webhook`"),
        ("webhok = a", "unknown argument `webhok`; did you mean `webhook`?"),
        ("webhook = a, timeout = 5", "unknown argument `timeout`; known arguments: `webhook`, `request_id`"),
        ("webhook = a, webhook = b", "`webhook` is given twice"),
        ("webhook = a?", "`?` cannot be used in `webhook`"),
        ("webhook = \"a.await\"", "`.await` cannot be used in `webhook`"),
        ("webhook = a, request_id = { return 1 }", "`return` cannot be used in `request_id`"),
        ("webhook = a, on = completed", "`on` takes a list: write `on = ["),
        ("webhook = a, on = []", "an empty list reports nothing"),
        ("webhook = a, on = [done]", "unknown outcome `done`; known outcomes: `completed`"),
        ("webhook = a, on = [failed, failed]", "`failed` is listed twice"),
        ("webhook = a, on = [failed()]", "expected the name of an outcome"),
        ("webhook = a, error = Display", "did you mean `display`?"),
        ("webhook = a, error = true", "did you mean `display`?"),
        ("webhook = a, error = false", "did you mean `none`?"),
        ("webhook = a, error = Reason", "did you mean `reason`?"),
        ("webhook = a, error = 5", "`error` must be one of `none`, `reason`, `display`, `debug`, or the path"),
        ("webhook = a, error = |e| e", "move the closure into a function and give the path of that function"),
        ("webhook = a, result = none", "did you mean `false`?"),
        ("webhook = a, result = 5", "`result` must be one of `true`, `false`, or the path of a function"),
        (
            "webhook = a, format = Standard",
            "unknown format `Standard`; did you mean `standard`? known formats: `cortex`",
        ),
        ("webhook = a, format = \"fal\"", "`format` must be one of the words `cortex`, `standard`, `cloudevents`"),
        ("webhook = a, durable = yes", "`durable` must be `true` or `false`"),
        ("webhook = a, crate = pb", "write `::name` for a dependency"),
        ("webhook = a, crate = 5", "the value of `crate` cannot be read: expected identifier"),
    ] {
        let error = mistake(args, SMALL);
        assert!(error.contains(message), "{args}: {error}");
    }
}

#[test]
fn each_wrong_item_says_what_to_write() {
    for (item, message) in [
        ("struct S;", "can stand only on an `async fn`"),
        ("pub(crate) unsafe trait T {}", "can stand only on an `async fn`"),
        ("impl S {}", "can stand only on an `async fn`"),
        ("const X: u8 = 1;", "can stand only on an `async fn`"),
        ("pub mod m {}", "can stand only on an `async fn`"),
        ("enum E {}", "can stand only on an `async fn`"),
        ("type T = u8;", "can stand only on an `async fn`"),
        ("use a::b;", "can stand only on an `async fn`"),
        ("static X: u8 = 1;", "can stand only on an `async fn`"),
        ("extern \"C\" {}", "can stand only on an `async fn`"),
        ("m! {}", "can stand only on an `async fn`"),
        ("let a = 1;", "can stand only on an `async fn`"),
        ("async move {}", "use `postback::report_outcome`"),
        ("move || 1", "use `postback::report_outcome`"),
        ("async |a| a", "use `postback::report_outcome`"),
        ("1 + 1", "use `postback::report_outcome`"),
        ("fn f(request_id: u8) -> R {}", "needs an `async fn`; if you wrote `async`"),
        (
            "#[x::test] fn f(request_id: u8) -> R {}",
            "has removed the `async` of the function; put it below `#[async_handler]`",
        ),
        ("fn f(request_id: u8) -> impl Future<Output = R> { ready(x) }", "other code makes this future"),
        ("fn f(request_id: u8) -> Pin<Box<dyn Future<Output = R>>> {}", "other code makes this future"),
        ("fn f(request_id: u8) -> impl Later { async move {} }", "the output type of this future is missing"),
        ("const fn f(request_id: u8) -> R {}", "it cannot be `async`; write `async fn`"),
        ("unsafe fn f(request_id: u8, ...) -> R;", "cannot be variadic"),
        ("async fn f(request_id: u8) -> R;", "this function has no body"),
        ("async fn f(request_id: u8) {}", "write `-> Result<(), Error>`"),
        ("async fn f(request_id: u8) -> ! { loop {} }", "write `-> Result<std::convert::Infallible, Error>`"),
        ("async fn f() -> R {}", "add a parameter `request_id: RequestId`"),
        ("const async fn f(request_id: u8) -> R {}", "it cannot be `async`; write `async fn`"),
        ("async extern \"C\" fn f(request_id: u8) -> R {}", "remove `extern`"),
        ("async fn f(request_id:) -> R {}", "expected one of"),
        ("#[x::async_handler(webhook = b)] async fn f(request_id: u8) -> R {}", "is used twice"),
    ] {
        let error = mistake("webhook = a", item);
        assert!(error.contains(message), "{item}: {error}");
    }
}

mod half_typed;

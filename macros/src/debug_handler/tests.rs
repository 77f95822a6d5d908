//! Tests the generated code of `#[debug_handler]` as formatted text, and the message for each mistake.

use insta::assert_snapshot;

use crate::testing;

fn expanded(args: &str, item: &str) -> String {
    testing::expanded(super::debug_handler, args, item)
}

fn mistakes(args: &str, item: &str) -> Vec<String> {
    testing::mistakes(super::debug_handler, args, item)
}

#[test]
fn the_function_stays_and_checks_follow() {
    let item = "async fn greet(config: Config<Settings>, Payload(name): Payload<Name>) -> Result<Greeting, Error> {}";
    assert_snapshot!(expanded("", item), @r#"
    async fn greet(
        config: Config<Settings>,
        Payload(name): Payload<Name>,
    ) -> Result<Greeting, Error> {}
    const _: fn() = || {
        ::postback::__private::check::parameter_with::<Config<Settings>, Settings>();
        ::postback::__private::check::parameter_with::<Payload<Name>, Settings>();
        let _ = |__0, __1| {
            let __future = greet(__0, __1);
            ::postback::__private::check::output(&__future);
            ::postback::__private::check::send(&__future);
        };
    };
    "#);
}

#[test]
fn the_settings_type_can_be_given() {
    let item = "#[cfg(unix)] fn greet(#[cfg(a)] id: RequestId, #[cfg(not(a))] id: Id) -> impl Future<Output = R> {}";
    assert_snapshot!(expanded("crate::Settings, crate = ::pb", item), @r#"
    #[cfg(unix)]
    fn greet(#[cfg(a)] id: RequestId, #[cfg(not(a))] id: Id) -> impl Future<Output = R> {}
    #[cfg(unix)]
    const _: fn() = || {
        #[cfg(a)] ::pb::__private::check::parameter_with::<RequestId, crate::Settings>();
        #[cfg(not(a))] ::pb::__private::check::parameter_with::<Id, crate::Settings>();
    };
    "#);
}

#[test]
fn without_settings_only_what_fits_no_app_is_found() {
    assert_snapshot!(expanded("", "async fn greet(id: RequestId) -> io::Result<()> {}"), @r#"
    async fn greet(id: RequestId) -> io::Result<()> {}
    const _: fn() = || {
        ::postback::__private::check::parameter::<RequestId>();
        let _ = |__0| {
            let __future = greet(__0);
            ::postback::__private::check::output(&__future);
            ::postback::__private::check::send(&__future);
        };
    };
    "#);
}

#[test]
fn each_mistake_says_what_to_write() {
    const GOOD: &str = "async fn f(id: RequestId) -> Result<(), E> {}";
    for (args, item, message) in [
        ("\"Settings\"", GOOD, "expected the type of the app's settings"),
        (", Settings", GOOD, "expected the type of the app's settings"),
        ("A, B", GOOD, "unknown argument `B`; known arguments: `crate`"),
        ("settings = S", GOOD, "unknown argument `settings`"),
        ("S, crate = pb", GOOD, "write `::name` for a dependency"),
        ("", "struct S;", "`#[debug_handler]` can stand only on an `async fn`"),
        ("", "#[debug_handler] async fn f() -> R {}", "is used twice"),
        ("", "fn f() -> Result<(), E> {}", "write `async` in front"),
        ("", "async fn f() {}", "write `-> Result<(), Error>`"),
        ("", "async unsafe fn f() -> R {}", "remove `unsafe`"),
        ("", "async extern \"C\" fn f() -> R {}", "remove `extern`"),
        ("", "async fn f<T>(a: Payload<T>) -> R {}", "name the concrete types"),
        ("", "async fn f(a: impl Extract<S>) -> R {}", "name the concrete type"),
        ("", "async fn f(&self) -> R {}", "a free function, not a method"),
        ("", "async fn f(a: Payload<A>, b: postback::Payload<B>) -> R {}", "a request has only one payload"),
        ("", "async fn f(a: A, b: A, c: A, d: A, e: A, f: A, g: A, h: A, i: A, j: A) -> R {}", "this is the ninth"),
    ] {
        let [error] = mistakes(args, item).try_into().unwrap();
        assert!(error.contains(message), "{args} {item}: {error}");
    }
}

#[test]
fn the_function_survives_if_it_ends_anywhere_or_lacks_any_token() {
    let item = "#[x] pub async fn f(a: Config<S>, Payload(b): Payload<B>) -> Result<(), E> { let c = a. }";
    let (args, item) = ("crate::S, crate = ::pb".parse().unwrap(), item.parse().unwrap());
    for at in 0..=testing::flat(&item).len() {
        for half in [testing::cut(&item, at), testing::without(&item, &[at])] {
            let expanded = super::debug_handler(testing::without(&args, &[at]), &half);
            assert!(expanded.to_string().starts_with(&half.to_string()), "{expanded}");
        }
    }
}

#[test]
fn several_mistakes_are_reported_together() {
    let errors = mistakes("", "fn f(&self, a: Payload<A>, b: Payload<B>) {}");
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

//! Tests the generated code of `#[postback::main]` as formatted text, and the message for each mistake.

use insta::assert_snapshot;

use crate::testing;

fn expanded(args: &str, item: &str) -> String {
    testing::expanded(super::main_fn, args, item)
}

fn mistakes(args: &str, item: &str) -> Vec<String> {
    testing::mistakes(super::main_fn, args, item)
}

#[test]
fn a_function_of_another_name_stays_where_it_is() {
    let item = "async fn app(settings: Settings) -> App<Settings> { App::new(settings) }";
    assert_snapshot!(expanded("", item), @r#"
    async fn app(settings: Settings) -> App<Settings> {
        App::new(settings)
    }
    fn main() -> ::postback::__private::ExitCode {
        ::postback::__private::start(
            ::postback::__private::Program::new(
                ::core::env!("CARGO_CRATE_NAME"),
                ::core::env!("CARGO_PKG_VERSION"),
            ),
            app,
        )
    }
    "#);
}

#[test]
fn a_function_called_main_goes_into_the_generated_one() {
    let item = "async fn main() -> Result<App, Error> { Ok(App::new(())) }";
    assert_snapshot!(expanded("worker_threads = 2, crate = ::pb", item), @r#"
    fn main() -> ::pb::__private::ExitCode {
        async fn main() -> Result<App, Error> {
            Ok(App::new(()))
        }
        ::pb::__private::start_without_settings(
            ::pb::__private::Program::new(
                    ::core::env!("CARGO_CRATE_NAME"),
                    ::core::env!("CARGO_PKG_VERSION"),
                )
                .worker_threads(2),
            main,
        )
    }
    "#);
}

#[test]
fn each_mistake_says_what_to_write() {
    const GOOD: &str = "async fn app(settings: Settings) -> App<Settings> {}";
    for (args, item, message) in [
        ("worker_threads = 0", GOOD, "`worker_threads` must be a number from 1"),
        ("worker_threads = \"4\"", GOOD, "`worker_threads` must be a number from 1"),
        ("worker_threads = 4u8", GOOD, "`worker_threads` must be a number from 1"),
        ("worker_threads", GOOD, "write `worker_threads = 4`"),
        ("workers = 4", GOOD, "unknown argument `workers`; known arguments: `worker_threads` and `crate`"),
        ("flavor = \"current_thread\"", GOOD, "unknown argument `flavor`"),
        ("worker_threads = 1, worker_threads = 2", GOOD, "given twice"),
        ("crate = pb", GOOD, "write `::name` for a dependency"),
        ("", "struct S;", "`#[postback::main]` can stand only on an `async fn`"),
        ("", "fn app() -> App {}", "needs an `async fn`"),
        ("", "async fn app() {}", "write `-> App<Settings>`"),
        ("", "async fn app(a: A, b: B) -> App {}", "takes the settings and no other parameter"),
        ("", "async fn app(self) -> App {}", "a free function"),
        ("", "async fn app<S>(settings: S) -> App<S> {}", "name the concrete settings type"),
        ("", "async unsafe fn app() -> App {}", "remove `unsafe`"),
        ("", "async fn app() -> App;", "add a body that makes the app"),
        ("", "#[tokio::main] async fn app() -> App {}", "remove the other `main` attribute"),
        ("", "#[async_handler] async fn app() -> App {}", "handlers of its routes"),
    ] {
        let [error] = mistakes(args, item).try_into().unwrap();
        assert!(error.contains(message), "{args} {item}: {error}");
    }
}

#[test]
fn after_a_mistake_there_is_still_one_main() {
    for item in ["async fn app() {}", "async fn main() {}", "fn main() {}", "struct S;"] {
        let expanded = super::main_fn("".parse().unwrap(), &item.parse().unwrap());
        let file: syn::File = syn::parse2(expanded).unwrap();
        let mains: Vec<_> = file
            .items
            .iter()
            .filter(|item| matches!(item, syn::Item::Fn(function) if function.sig.ident == "main"))
            .collect();
        assert_eq!(mains.len(), 1, "{item}");
        assert!(matches!(mains[0], syn::Item::Fn(main) if main.sig.asyncness.is_none()), "{item}");
    }
}

#[test]
fn the_function_survives_if_it_ends_anywhere_or_lacks_any_token() {
    let args = "worker_threads = 4, crate = ::pb".parse().unwrap();
    for name in ["app", "main"] {
        let item = format!("#[x] async fn {name}(settings: S) -> Result<App<S>, E> {{ App::new(settings). }}");
        let item = item.parse().unwrap();
        for at in 0..=testing::flat(&item).len() {
            for half in [testing::cut(&item, at), testing::without(&item, &[at])] {
                let expanded = super::main_fn(testing::without(&args, &[at]), &half);
                assert!(testing::survives(&half, &expanded), "{half}\nbecame\n{expanded}");
            }
        }
    }
}

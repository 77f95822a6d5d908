//! Tests free functions with all kinds of parameters, generics and visibility.

use std::fmt::Display;

use postback::async_handler;

use crate::support::{Config, completed, failed, named, send};

/// One of the two examples of the README.
#[async_handler(webhook = config.webhook_url)]
async fn doubled(config: Config, n: u32, request_id: &str) -> Result<u32, String> {
    drop(config);
    n.checked_mul(2).ok_or_else(|| "too much".to_owned())
}

#[tokio::test]
async fn a_function_returns_and_reports_its_result() {
    assert_eq!(send(doubled(Config::new(), 4, "doubled-1")).await, Ok(8));
    completed("doubled-1", 8);
    assert_eq!(doubled(Config::new(), u32::MAX, "doubled-2").await, Err("too much".to_owned()));
    failed("doubled-2");
}

#[tokio::test]
async fn a_call_that_is_never_polled_reports_nothing() {
    drop(doubled(Config::new(), 4, "unpolled"));
    assert_eq!(doubled(Config::new(), 1, "unpolled").await, Ok(2));
    completed("unpolled", 2);
}

#[async_handler(webhook = config.webhook_url)]
async fn generic<'a, 'b: 'a, T, const N: usize>(
    config: &Config,
    items: &'b [T; N],
    request_id: &str,
    shown: &'a (dyn Display + Sync),
    _: impl Send,
) -> Result<(String, &'a T), String>
where
    T: Sync + serde::Serialize,
    for<'c> &'c T: Into<u64>,
{
    let last: &'b T = items.last().ok_or("none")?;
    tokio::task::yield_now().await;
    Ok((format!("{shown} {N} {}", last.into()), last))
}

#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Number(u64);

impl From<&Number> for u64 {
    fn from(number: &Number) -> Self {
        number.0
    }
}

#[tokio::test]
async fn generics_and_lifetimes_stay() {
    let config = Config::new();
    let (text, last) = generic(&config, &[Number(1), Number(2)], "generic", &"x", ()).await.unwrap();
    assert_eq!((text.as_str(), last), ("x 2 2", &Number(2)));
    completed("generic", vec![serde_json::json!("x 2 2"), serde_json::json!(2)]);
}

/// Makes an annotated function, as a `macro_rules!` macro in another crate might.
macro_rules! doubles {
    ($name:ident, $webhook:literal, $id:expr, $parameter:ident) => {
        #[async_handler(webhook = $webhook, request_id = $id)]
        async fn $name($parameter: Config) -> Result<u8, ()> {
            drop($parameter);
            Ok(2)
        }
    };
}

doubles!(from_a_macro, "config.webhook_url", "named(\"macro\")", config);

#[tokio::test]
async fn a_string_may_come_out_of_a_macro() {
    assert_eq!(send(from_a_macro(Config::new())).await, Ok(2));
    completed("macro", 2);
}

#[async_handler(webhook = config.webhook_url)]
async fn conditional_generics<'a, #[cfg(any())] 'b, T: Display, #[cfg(any())] U>(
    config: &'a Config,
    #[cfg(any())] absent: &'b U,
    #[expect(unused_variables, reason = "an attribute of a parameter is kept")] unused: T,
    request_id: &'a str,
) -> Result<&'a str, ()> {
    Ok(request_id)
}

#[tokio::test]
async fn generics_and_parameters_may_have_attributes() {
    assert_eq!(conditional_generics(&Config::new(), 1, "conditional-generics").await, Ok("conditional-generics"));
    completed("conditional-generics", "conditional-generics");
}

#[async_handler(webhook = config.webhook_url)]
async fn shadows(config: &Config, request_id: &str) -> Result<usize, ()> {
    let request_id = request_id.len();
    let config = config.webhook_url.is_empty();
    Ok(request_id + usize::from(config))
}

#[tokio::test]
async fn the_body_may_shadow_what_the_expressions_name() {
    assert_eq!(shadows(&Config::new(), "shadows").await, Ok(7));
    completed("shadows", 7);
}

struct Pair {
    left: u8,
    right: String,
}

#[async_handler(webhook = webhook_url, request_id = right)]
async fn patterns(
    Config { webhook_url }: Config,
    Pair { left, ref right }: Pair,
    (mut sum, [first, ..]): (u8, [u8; 3]),
    mut more: Vec<u8>,
    _unused: u8,
    _: String,
) -> Result<Vec<u8>, ()> {
    sum += left + first;
    drop((webhook_url, right.len()));
    more.push(sum);
    Ok(more)
}

#[tokio::test]
async fn parameters_may_be_patterns() {
    let pair = Pair { left: 1, right: "patterns".to_owned() };
    let all = patterns(Config::new(), pair, (2, [3, 4, 5]), vec![0], 9, String::new()).await;
    assert_eq!(all, Ok(vec![0, 6]));
    completed("patterns", vec![0, 6]);
}

#[async_handler(webhook = r#type.webhook_url, request_id = r#match)]
async fn r#loop(r#type: &Config, r#match: &str) -> Result<usize, ()> {
    Ok(r#match.len())
}

#[tokio::test]
async fn raw_identifiers_stay() {
    assert_eq!(r#loop(&Config::new(), "raw").await, Ok(3));
    completed("raw", 3);
}

mod outer {
    pub(super) mod inner {
        use super::super::{Config, async_handler};

        #[async_handler(webhook = config.webhook_url)]
        pub(in crate::functions) async fn visible(config: Config, request_id: &str) -> Result<u8, ()> {
            Ok(u8::from(request_id.is_empty()))
        }
    }
}

#[tokio::test]
async fn visibility_stays() {
    assert_eq!(outer::inner::visible(Config::new(), "visible").await, Ok(0));
    completed("visible", 0);
}

#[tokio::test]
async fn a_function_may_stand_in_a_function() {
    #[async_handler(webhook = config.webhook_url)]
    async fn within(config: Config, request_id: &str) -> Result<u8, ()> {
        #[async_handler(webhook = webhook_url, request_id = named("inside"))]
        async fn inside(webhook_url: &str) -> Result<u8, ()> {
            Ok(u8::try_from(webhook_url.len()).unwrap_or(1).min(1))
        }
        inside(&config.webhook_url).await.map(|one| one + 1)
    }
    assert_eq!(within(Config::new(), "within").await, Ok(2));
    completed("inside", 1);
    completed("within", 2);
}

#[async_handler(webhook = config.webhook_url, on = [completed])]
async fn only_completed(config: &Config, fails: bool, request_id: &str) -> Result<(), ()> {
    if fails { Err(()) } else { Ok(()) }
}

#[tokio::test]
async fn an_end_that_is_not_asked_for_is_not_reported() {
    let config = Config::new();
    assert_eq!(only_completed(&config, true, "only-completed").await, Err(()));
    assert_eq!(only_completed(&config, false, "only-completed").await, Ok(()));
    crate::support::completed_without_result("only-completed");
}

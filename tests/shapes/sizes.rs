//! Tests how many bytes the attribute adds to a future: at most `GROWTH` for every shape of function, and no second
//! copy of a parameter.

#![expect(clippy::large_types_passed_by_value, clippy::too_many_lines, reason = "the tests measure large types")]

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;

use postback::async_handler;
use tokio::task::yield_now;

type Array = [u8; 1024];
type Url = Option<&'static str>;

/// The number of bytes that the attribute may add to a future. They hold the webhooks, the request id and the outcome.
const GROWTH: usize = 128;

/// The size of a function's future without the attribute and with it. Both functions are made of the same tokens.
macro_rules! sizes {
    ($value:expr, ($($attribute:tt)*), $($function:tt)*) => {{
        let plain = {
            $($function)*
            size_of_val(&*$value)
        };
        let annotated = {
            #[async_handler($($attribute)*)]
            $($function)*
            size_of_val(&*$value)
        };
        (plain, annotated)
    }};
}

// The module `kept` uses the macro `sizes!`, so it must stand below the macro.
mod kept;
mod methods;

const ARRAY: Array = [0; 1024];

struct Big {
    a: Array,
    b: Array,
}

const BIG: Big = Big { a: ARRAY, b: ARRAY };

struct Session {
    conn: Vec<u8>,
    permit: Array,
}

impl Drop for Session {
    fn drop(&mut self) {}
}

const fn sum(array: &Array) -> u8 {
    array[0]
}

fn of_functions() -> Vec<(&'static str, (usize, usize))> {
    vec![
        (
            "no await",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = 1),
                async fn f(a: Array) -> Result<u8, ()> {
                    Ok(a[0])
                }
            ),
        ),
        (
            "no await, id of the array",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = a[0]),
                async fn f(a: Array) -> Result<String, ()> {
                    Ok(format!("{}", sum(&a)))
                }
            ),
        ),
        (
            "across an await",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = 1),
                async fn f(a: Array) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(a[0])
                }
            ),
        ),
        (
            "id of the array",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = a[0]),
                async fn f(a: Array) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(a[0])
                }
            ),
        ),
        (
            "mutable",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = a[0]),
                async fn f(mut a: Array) -> Result<u8, ()> {
                    a[1] = 2;
                    yield_now().await;
                    Ok(a[0])
                }
            ),
        ),
        (
            "taken apart in the parameters",
            sizes!(
                Box::new(f(BIG)),
                (webhook = None::<&str>, request_id = a[0]),
                async fn f(Big { a, b }: Big) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(a[0] + b[0])
                }
            ),
        ),
        (
            "a tuple",
            sizes!(
                Box::new(f((ARRAY, 1))),
                (webhook = None::<&str>, request_id = n),
                async fn f((a, n): (Array, u8)) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(a[0] + n)
                }
            ),
        ),
        (
            "one field in use",
            sizes!(
                Box::new(f(Session { conn: vec![], permit: ARRAY })),
                (webhook = None::<&str>, request_id = s.conn.len()),
                async fn f(s: Session) -> Result<u8, ()> {
                    let permit = &s.permit;
                    yield_now().await;
                    Ok(permit[0])
                }
            ),
        ),
        (
            "any type",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = 1),
                async fn f<T: AsRef<[u8]>>(a: T) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(a.as_ref()[0])
                }
            ),
        ),
        (
            "some type",
            sizes!(
                Box::new(f(1)),
                (webhook = None::<&str>, request_id = a),
                async fn f(a: impl Display) -> Result<String, ()> {
                    yield_now().await;
                    Ok(a.to_string())
                }
            ),
        ),
        (
            "a local array",
            sizes!(
                Box::new(f("x")),
                (webhook = None::<&str>, request_id = url),
                async fn f(url: &str) -> Result<u8, ()> {
                    let a = ARRAY;
                    yield_now().await;
                    Ok(sum(&a) + url.as_bytes()[0])
                }
            ),
        ),
        (
            "a large result",
            sizes!(
                Box::new(f("x")),
                (webhook = None::<&str>, request_id = url, result = false),
                async fn f(url: &str) -> Result<Array, ()> {
                    yield_now().await;
                    Ok([url.as_bytes()[0]; 1024])
                }
            ),
        ),
        (
            "all arguments",
            sizes!(
                Box::new(f(ARRAY)),
                (
                    webhook = None::<&str>,
                    request_id = 1,
                    on = [failed, dropped],
                    error = display,
                    result = u8::is_ascii
                ),
                async fn f(a: Array) -> Result<u8, String> {
                    yield_now().await;
                    Ok(a[0])
                }
            ),
        ),
        (
            "durable",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = 1, durable = true),
                async fn f(a: Array) -> Result<u8, String> {
                    yield_now().await;
                    Ok(a[0])
                }
            ),
        ),
    ]
}

fn of_plain_functions() -> Vec<(&'static str, (usize, usize))> {
    vec![
        (
            "a block",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = a[0]),
                fn f(a: Array) -> impl Future<Output = Result<u8, ()>> {
                    let b = 1;
                    async move {
                        yield_now().await;
                        Ok(a[0] + b)
                    }
                }
            ),
        ),
        (
            "a block that lets go",
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = a[0]),
                fn f(a: Array) -> impl Future<Output = Result<u8, ()>> {
                    let b = 1;
                    async move {
                        let a = sum(&a);
                        yield_now().await;
                        Ok(a + b)
                    }
                }
            ),
        ),
        (
            "a boxed block",
            sizes!(
                f(ARRAY),
                (webhook = None::<&str>, request_id = a[0]),
                fn f(a: Array) -> Pin<Box<dyn Future<Output = Result<u8, ()>>>> {
                    Box::pin(async move {
                        yield_now().await;
                        Ok(a[0])
                    })
                }
            ),
        ),
        (
            "a boxed block without an await",
            sizes!(
                f(ARRAY),
                (webhook = None::<&str>, request_id = a[0]),
                fn f(a: Array) -> Pin<Box<dyn Future<Output = Result<u8, ()>>>> {
                    Box::pin(async move { Ok(a[0]) })
                }
            ),
        ),
    ]
}

#[test]
fn a_future_grows_by_the_same_few_bytes_whatever_its_shape() {
    let mut all = of_functions();
    all.extend(of_plain_functions());
    all.extend(methods::of_methods());
    assert!(all.len() > 20);
    let grown: Vec<_> = all.iter().filter(|(_, (plain, annotated))| *annotated > plain + GROWTH).collect();
    assert!(grown.is_empty(), "{grown:#?} of {all:#?}");
}

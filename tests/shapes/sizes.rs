//! What the attribute adds to the size of a future: the same for every shape, and nothing of a parameter twice.

#![expect(clippy::large_types_passed_by_value, clippy::too_many_lines, reason = "sizes are what is tried")]

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use postback::async_handler;
use tokio::task::yield_now;

type Array = [u8; 1024];
type Url = Option<&'static str>;

/// What a future may grow by: room for webhooks, id and what becomes of the call.
const GROWTH: usize = 128;

/// Size of the plain future and of the annotated one, of the same tokens.
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

/// The same of a method of a type that has two arrays.
macro_rules! sizes_of_method {
    ($value:expr, ($($attribute:tt)*), $($method:tt)*) => {{
        let plain = {
            struct Big { a: Array, b: Array, url: Url }
            impl Big { $($method)* }
            const BIG: Big = Big { a: [0; 1024], b: [0; 1024], url: None };
            size_of_val(&*$value(BIG))
        };
        let annotated = {
            struct Big { a: Array, b: Array, url: Url }
            impl Big { #[async_handler($($attribute)*)] $($method)* }
            const BIG: Big = Big { a: [0; 1024], b: [0; 1024], url: None };
            size_of_val(&*$value(BIG))
        };
        (plain, annotated)
    }};
}

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

async fn pass(array: Array) -> Result<u8, ()> {
    yield_now().await;
    Ok(array[1])
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

fn of_methods() -> Vec<(&'static str, (usize, usize))> {
    vec![
        (
            "self",
            sizes_of_method!(
                |big: Big| Box::new(big.f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(self) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        (
            "mut self, one field in use",
            sizes_of_method!(
                |big: Big| Box::new(big.f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(mut self) -> Result<u8, ()> {
                    self.b[0] = 1;
                    yield_now().await;
                    Ok(self.b[0] + u8::from(self.url.is_some()) + self.a[0])
                }
            ),
        ),
        (
            "self, no await",
            sizes_of_method!(
                |big: Big| Box::new(big.f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(self) -> Result<u8, ()> {
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        (
            "&self",
            sizes_of_method!(
                |big: Big| Box::new(Box::leak(Box::new(big)).f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(&self) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        (
            "&mut self",
            sizes_of_method!(
                |big: Big| Box::new(Box::leak(Box::new(big)).f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(&mut self) -> Result<&mut u8, ()> {
                    self.b[0] = self.a[0] + u8::from(self.url.is_some());
                    yield_now().await;
                    Ok(&mut self.b[0])
                }
            ),
        ),
        (
            "self: Arc",
            sizes_of_method!(
                |big: Big| Box::new(Arc::new(big).f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(self: Arc<Self>) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
    ]
}

#[async_trait]
trait Read {
    async fn plain(&self, a: Array) -> Result<u8, ()>;
    async fn annotated(&self, a: Array) -> Result<u8, ()>;
    async fn plain_alone(&self, a: Array) -> Result<u8, ()>;
    async fn annotated_alone(&self, a: Array) -> Result<u8, ()>;
}

#[async_trait]
impl Read for Big {
    async fn plain(&self, a: Array) -> Result<u8, ()> {
        yield_now().await;
        Ok(self.a[0] + a[0])
    }

    #[async_handler(webhook = None::<&str>, request_id = a[0])]
    async fn annotated(&self, a: Array) -> Result<u8, ()> {
        yield_now().await;
        Ok(self.a[0] + a[0])
    }

    async fn plain_alone(&self, a: Array) -> Result<u8, ()> {
        Ok(self.a[0] + a[0])
    }

    #[async_handler(webhook = None::<&str>, request_id = a[0])]
    async fn annotated_alone(&self, a: Array) -> Result<u8, ()> {
        Ok(self.a[0] + a[0])
    }
}

#[test]
fn a_future_grows_by_the_same_few_bytes_whatever_its_shape() {
    let mut all = of_functions();
    all.extend(of_plain_functions());
    all.extend(of_methods());
    all.push(("async_trait", (size_of_val(&*BIG.plain(ARRAY)), size_of_val(&*BIG.annotated(ARRAY)))));
    all.push((
        "async_trait, no await",
        (size_of_val(&*BIG.plain_alone(ARRAY)), size_of_val(&*BIG.annotated_alone(ARRAY))),
    ));
    assert!(all.len() > 20);
    let grown: Vec<_> = all.iter().filter(|(_, (plain, annotated))| *annotated > plain + GROWTH).collect();
    assert!(grown.is_empty(), "{grown:#?} of {all:#?}");
}

/// An `async fn` has its parameters from the call to the first poll, and the watched body has them from there on: the compiler
/// gives the one no room of the other. Where the plain function moves a parameter elsewhere, or lets go of it, before it waits,
/// the room is kept. So it is where an `async fn` awaits a block with its body and nothing else is done, and the attribute adds
/// to that what it always adds.
#[test]
fn what_is_moved_on_before_the_first_await_is_kept_once_as_by_any_block_in_an_async_function() {
    async fn lets_go(a: Array) -> Result<u8, ()> {
        async move {
            let first = a[0];
            yield_now().await;
            Ok(first)
        }
        .await
    }
    async fn takes_apart(o: Big) -> Result<u8, ()> {
        async move {
            let Big { a, b } = o;
            yield_now().await;
            Ok(a[0] + b[0])
        }
        .await
    }
    async fn passes_on(a: Array) -> Result<u8, ()> {
        async move { pass(a).await }.await
    }
    let all = [
        (
            size_of_val(&lets_go(ARRAY)),
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = 1),
                async fn f(a: Array) -> Result<u8, ()> {
                    let first = a[0];
                    yield_now().await;
                    Ok(first)
                }
            ),
        ),
        (
            size_of_val(&takes_apart(BIG)),
            sizes!(
                Box::new(f(BIG)),
                (webhook = None::<&str>, request_id = o.a[0]),
                async fn f(o: Big) -> Result<u8, ()> {
                    let Big { a, b } = o;
                    yield_now().await;
                    Ok(a[0] + b[0])
                }
            ),
        ),
        (
            size_of_val(&passes_on(ARRAY)),
            sizes!(
                Box::new(f(ARRAY)),
                (webhook = None::<&str>, request_id = 1),
                async fn f(a: Array) -> Result<u8, ()> {
                    pass(a).await
                }
            ),
        ),
    ];
    for (nested, (plain, annotated)) in all {
        assert!(
            nested >= plain + size_of::<Array>(),
            "{nested} of {plain}: the compiler got better, and so can the attribute"
        );
        assert!(annotated <= nested + GROWTH, "{annotated}, {nested}, {plain}");
    }
}

/// All parameters are taken, for they are to be dropped in order; one that has nothing to drop need not be.
#[test]
fn what_is_never_used_is_kept_once() {
    let (plain, annotated) = sizes!(
        Box::new(f(ARRAY, ARRAY)),
        (webhook = None::<&str>, request_id = 1),
        async fn f(a: Array, _b: Array) -> Result<u8, ()> {
            yield_now().await;
            Ok(a[0])
        }
    );
    assert!(annotated <= plain + GROWTH + size_of::<Array>(), "{annotated}, {plain}");
    let (plain, annotated) = sizes!(
        Box::new(f(ARRAY, Session { conn: vec![], permit: ARRAY })),
        (webhook = None::<&str>, request_id = 1),
        async fn f(a: Array, _b: Session) -> Result<u8, ()> {
            yield_now().await;
            Ok(a[0])
        }
    );
    assert!(annotated <= plain + GROWTH, "{annotated}, {plain}");
}

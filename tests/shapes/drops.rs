//! Tests that parameters are dropped as in a plain function: after the local variables, in reverse order, and each
//! parameter as a whole.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use postback::async_handler;
use tokio::task::yield_now;

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<&'static str>>>);

impl Seen {
    fn noted(&self, name: &'static str) -> Noted {
        Noted(name, self.clone())
    }

    fn session(&self) -> Session {
        Session { conn: self.noted("conn"), permit: self.noted("permit"), n: 1 }
    }
}

struct Noted(&'static str, Seen);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.0.lock().unwrap().push(self.0);
    }
}

struct Session {
    conn: Noted,
    permit: Noted,
    n: u8,
}

/// Asserts that a function drops its values in the same order with the attribute as without it. Both functions are made
/// of the same tokens.
macro_rules! dropped {
    ($seen:ident, $call:expr, ($($attribute:tt)*), $($function:tt)*) => {{
        let plain = {
            $($function)*
            let $seen = Seen::default();
            let _ = $call.await;
            mem::take(&mut *$seen.0.lock().unwrap())
        };
        let annotated = {
            #[async_handler($($attribute)*)]
            $($function)*
            let $seen = Seen::default();
            let _ = $call.await;
            mem::take(&mut *$seen.0.lock().unwrap())
        };
        assert!(!plain.is_empty());
        assert_eq!(annotated, plain, "{}", stringify!($($function)*));
    }};
}

#[tokio::test]
async fn fields_of_one_parameter_are_dropped_together() {
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = s.n),
        async fn f(s: Session) -> Result<(), ()> {
            let _p = &s.permit;
            yield_now().await;
            let _n = s.n;
            Ok(())
        }
    );
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = 1),
        async fn f(s: Session) -> Result<(), ()> {
            let _p = &s.permit;
            Ok(())
        }
    );
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = s.n),
        async fn f(s: Session) -> Result<(), ()> {
            drop(s.permit);
            yield_now().await;
            Ok(())
        }
    );
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = s.n),
        async fn f(s: Session) -> Result<(), ()> {
            let Session { permit, .. } = s;
            yield_now().await;
            drop(permit);
            Ok(())
        }
    );
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = s.n),
        async fn f(s: Session) -> Result<(), ()> {
            let Session { permit: _permit, conn: _conn, n: _ } = s;
            yield_now().await;
            Ok(())
        }
    );
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = s.n),
        async fn f(s: Session) -> Result<u8, u8> {
            if s.n > 0 {
                return Err(s.n);
            }
            yield_now().await;
            drop(s.conn);
            Ok(1)
        }
    );
}

#[tokio::test]
async fn parameters_are_dropped_the_last_one_first() {
    dropped!(
        seen,
        f(seen.noted("a"), seen.noted("b"), seen.noted("c")),
        (webhook = None::<&str>, request_id = b.0),
        async fn f(a: Noted, b: Noted, c: Noted) -> Result<(), ()> {
            let _local = (Noted("local", a.1.clone()), &c);
            yield_now().await;
            drop(b);
            Ok(())
        }
    );
    dropped!(
        seen,
        f(seen.noted("a"), seen.noted("b"), seen.noted("c")),
        (webhook = None::<&str>, request_id = 1),
        async fn f(_a: Noted, b: Noted, _c: Noted) -> Result<usize, ()> {
            Ok(b.0.len())
        }
    );
    dropped!(
        seen,
        f((seen.noted("a"), seen.noted("b")), seen.session()),
        (webhook = None::<&str>, request_id = 1),
        async fn f((a, b): (Noted, Noted), Session { permit, conn, .. }: Session) -> Result<usize, ()> {
            yield_now().await;
            Ok(conn.0.len() + b.0.len() + a.0.len() + permit.0.len())
        }
    );
    dropped!(
        seen,
        f(seen.session()),
        (webhook = None::<&str>, request_id = 1),
        async fn f(ref session @ Session { ref conn, .. }: Session) -> Result<usize, ()> {
            yield_now().await;
            Ok(conn.0.len() + session.permit.0.len())
        }
    );
}

#[tokio::test]
async fn functions_that_return_futures_drop_as_before() {
    dropped!(
        seen,
        f(seen.session(), seen.noted("b")),
        (webhook = None::<&str>, request_id = s.n),
        fn f(s: Session, b: Noted) -> Pin<Box<dyn Future<Output = Result<(), ()>>>> {
            Box::pin(async move {
                let (s, _b) = (s, b);
                let _p = &s.permit;
                yield_now().await;
                Ok(())
            })
        }
    );
}

struct Plain(Session);

impl Plain {
    async fn by_value(self, _other: Noted) -> Result<(), ()> {
        let _p = &self.0.permit;
        yield_now().await;
        Ok(())
    }
}

struct Annotated(Session);

impl Annotated {
    #[async_handler(webhook = None::<&str>, request_id = self.0.n)]
    async fn by_value(self, _other: Noted) -> Result<(), ()> {
        let _p = &self.0.permit;
        yield_now().await;
        Ok(())
    }
}

#[tokio::test]
async fn self_is_dropped_in_one_piece() {
    let (seen, plain) = (Seen::default(), Seen::default());
    Plain(plain.session()).by_value(plain.noted("other")).await.unwrap();
    Annotated(seen.session()).by_value(seen.noted("other")).await.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), *plain.0.lock().unwrap());
}

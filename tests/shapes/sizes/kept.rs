//! Tests the cases in which the future of an annotated function holds a parameter once more than the plain future.

use postback::async_handler;
use tokio::task::yield_now;

use super::{ARRAY, Array, BIG, Big, GROWTH, Session};

async fn pass(array: Array) -> Result<u8, ()> {
    yield_now().await;
    Ok(array[1])
}

/// An `async fn` holds its parameters from the call to the first poll, and the reported body holds them from then on.
/// The compiler does not reuse the space of the one for the other. So the space of a parameter stays in the future even
/// if the body moves or drops the parameter before its first `.await`. The compiler does the same for an `async fn`
/// that only awaits a block with its body. The attribute must not add more than `GROWTH` to such a function.
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
            "{nested} of {plain}: the compiler now reuses the space, so the attribute can be improved"
        );
        assert!(annotated <= nested + GROWTH, "{annotated}, {nested}, {plain}");
    }
}

/// The generated code captures every parameter, so that parameters are dropped in order. An unused parameter without
/// `Drop` does not need the capture, so the annotated future holds such a parameter at most once more than the plain
/// future.
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

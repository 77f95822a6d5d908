//! What the attribute cannot spare: parameters that are kept once more.

use postback::async_handler;
use tokio::task::yield_now;

use super::{ARRAY, Array, BIG, Big, GROWTH, Session};

async fn pass(array: Array) -> Result<u8, ()> {
    yield_now().await;
    Ok(array[1])
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

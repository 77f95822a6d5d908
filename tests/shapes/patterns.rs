//! Tests that the variable `request_id` is found in every pattern that can bind it.

use std::future::Future;

use postback::async_handler;

use crate::support::{completed, url};

struct W {
    request_id: u64,
    n: u8,
}

struct T(u8, u64);

struct Nested {
    inner: W,
    pair: (u8, [u64; 2]),
}

#[async_handler(webhook = url())]
async fn raw(r#request_id: u64) -> Result<u64, ()> {
    Ok(request_id)
}

#[async_handler(webhook = url())]
async fn mutable(mut request_id: u64) -> Result<u64, ()> {
    request_id += 1;
    tokio::task::yield_now().await;
    Ok(request_id)
}

#[async_handler(webhook = url())]
async fn behind_at(ref whole @ W { request_id, .. }: W) -> Result<u64, ()> {
    Ok(request_id + u64::from(whole.n))
}

#[async_handler(webhook = url())]
async fn of_an_array([request_id, n]: [u64; 2]) -> Result<u64, ()> {
    Ok(request_id + n)
}

#[async_handler(webhook = url())]
async fn of_a_part([rest @ .., request_id]: [u64; 3]) -> Result<u64, ()> {
    Ok(request_id + rest[0])
}

#[async_handler(webhook = url())]
async fn of_either((Ok(request_id) | Err(request_id)): Result<u64, u64>) -> Result<u64, ()> {
    Ok(request_id)
}

#[async_handler(webhook = url())]
async fn of_either_in_a_tuple(
    (Ok((_, request_id)) | Err(request_id), _): (Result<(u8, u64), u64>, u8),
) -> Result<u64, ()> {
    Ok(request_id)
}

#[async_handler(webhook = url())]
async fn of_a_tuple((n, request_id): (u8, u64)) -> Result<u64, ()> {
    Ok(request_id + u64::from(n))
}

#[async_handler(webhook = url())]
async fn of_a_tuple_struct(T(n, request_id): T) -> Result<u64, ()> {
    Ok(request_id + u64::from(n))
}

#[async_handler(webhook = url())]
async fn renamed(W { n: request_id, request_id: n }: W) -> Result<u64, ()> {
    Ok(u64::from(request_id) + n)
}

#[async_handler(webhook = url())]
async fn nested(Nested { inner: W { mut request_id, .. }, pair: (_, [n, ..]) }: Nested) -> Result<u64, ()> {
    request_id += n;
    Ok(request_id)
}

#[async_handler(webhook = url())]
async fn behind_references(&(request_id, _): &(u64, u8)) -> Result<u64, ()> {
    Ok(request_id)
}

async fn reports<E: std::fmt::Debug>(id: u64, call: impl Future<Output = Result<u64, E>>, result: u64) {
    assert_eq!(call.await.unwrap(), result);
    completed(&id.to_string(), result);
}

#[tokio::test]
async fn the_id_is_found_in_every_pattern() {
    reports(7001, raw(7001), 7001).await;
    reports(7002, mutable(7002), 7003).await;
    reports(7004, behind_at(W { request_id: 7004, n: 1 }), 7005).await;
    reports(7006, of_an_array([7006, 1]), 7007).await;
    reports(7008, of_a_part([1, 2, 7008]), 7009).await;
    reports(7010, of_either(Ok(7010)), 7010).await;
    reports(7011, of_either_in_a_tuple((Err(7011), 0)), 7011).await;
    reports(7012, of_a_tuple((1, 7012)), 7013).await;
    reports(7014, of_a_tuple_struct(T(1, 7014)), 7015).await;
    reports(7, renamed(W { n: 7, request_id: 1 }), 8).await;
    let inner = W { request_id: 7016, n: 0 };
    reports(7016, nested(Nested { inner, pair: (0, [1, 2]) }), 7017).await;
    reports(7018, behind_references(&(7018, 0)), 7018).await;
}

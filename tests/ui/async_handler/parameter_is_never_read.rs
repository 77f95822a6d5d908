//! Each annotated function causes the warnings that the plain function causes, and no others.
#![deny(unused)]

use std::future::ready;

use postback::async_handler;

pub async fn plain(mut n: u8, m: u8) -> Result<u8, String> {
    ready(()).await;
    n = 1;
    Ok(2)
}

#[async_handler(webhook = None::<&str>, request_id = 1)]
pub async fn annotated(mut n: u8, m: u8) -> Result<u8, String> {
    ready(()).await;
    n = 1;
    Ok(2)
}

#[async_handler(webhook = None::<&str>, request_id = 1)]
pub async fn at_once(mut n: u8, m: u8) -> Result<u8, String> {
    n = 1;
    Ok(2)
}

fn main() {}

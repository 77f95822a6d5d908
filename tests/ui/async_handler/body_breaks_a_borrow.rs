//! The messages for the annotated functions name the variable, like the message for the plain function.
use std::future::ready;

use postback::async_handler;

async fn plain(v: Vec<u8>) -> Result<usize, String> {
    drop(v);
    ready(()).await;
    Ok(v.len())
}

#[async_handler(webhook = None::<&str>, request_id = 1)]
async fn annotated(v: Vec<u8>) -> Result<usize, String> {
    drop(v);
    ready(()).await;
    Ok(v.len())
}

#[async_handler(webhook = None::<&str>, request_id = 1)]
async fn at_once(v: Vec<u8>) -> Result<usize, String> {
    drop(v);
    Ok(v.len())
}

async fn plain_mutable(v: Vec<u8>) -> Result<usize, String> {
    v.clear();
    ready(()).await;
    Ok(0)
}

#[async_handler(webhook = None::<&str>, request_id = 1)]
async fn annotated_mutable(v: Vec<u8>) -> Result<usize, String> {
    v.clear();
    ready(()).await;
    Ok(0)
}

fn main() {}

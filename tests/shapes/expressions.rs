//! Tests the kinds of expressions that `webhook` and `request_id` accept.

use std::sync::{Arc, LazyLock, Mutex};

use postback::{Webhook, async_handler};

use crate::support::{Config, completed, named, reported, send, url};

static URL: LazyLock<String> = LazyLock::new(url);
static LOCKED: LazyLock<Mutex<Config>> = LazyLock::new(|| Mutex::new(Config::new()));

#[derive(Clone)]
struct Job {
    config: Arc<Config>,
    number: u32,
}

impl Job {
    fn hooks(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.config.webhook_url.as_str())
    }
}

#[async_handler(webhook = URL.as_str(), request_id = named("static"))]
async fn of_a_static() -> Result<u8, ()> {
    Ok(1)
}

#[async_handler(webhook = *URL, request_id = named("place"))]
async fn of_a_place() -> Result<u8, ()> {
    Ok(1)
}

#[async_handler(webhook = url(), request_id = ["call", "id"].join("-"))]
async fn of_a_call() -> Result<u8, ()> {
    Ok(2)
}

#[async_handler(webhook = "job.hooks().map(ToOwned::to_owned).collect::<Vec<String>>()", request_id = named("chain"))]
async fn of_a_chain(job: Job) -> Result<u32, ()> {
    let Job { config, number } = job;
    drop(config);
    Ok(number)
}

#[async_handler(webhook = LOCKED.lock().unwrap().webhook_url, request_id = named("lock"))]
async fn of_a_lock() -> Result<usize, ()> {
    let length = {
        // This lock would wait forever if the expression `webhook` still held the lock.
        let mut locked = LOCKED.lock().map_err(drop)?;
        std::mem::take(&mut locked.webhook_url).len()
    };
    tokio::task::yield_now().await;
    Ok(length)
}

#[async_handler(webhook = if job.number > 0 { Some(&job.config.webhook_url) } else { None }, request_id = job.number)]
async fn of_a_condition(job: &Job) -> Result<u32, ()> {
    Ok(job.number)
}

#[async_handler(webhook = Webhook::new(&*URL).ok(), request_id = named("fallible"))]
async fn of_what_may_be_none() -> Result<u32, ()> {
    Ok(5)
}

#[tokio::test]
async fn webhooks_come_from_anywhere() {
    assert_eq!(send(of_what_may_be_none()).await, Ok(5));
    completed("fallible", 5);
    let job = Job { config: Arc::new(Config::new()), number: 77 };
    assert_eq!(send(of_a_static()).await, Ok(1));
    completed("static", 1);
    assert_eq!(send(of_a_place()).await, Ok(1));
    completed("place", 1);
    assert_eq!(send(of_a_call()).await, Ok(2));
    completed("call-id", 2);
    assert_eq!(send(of_a_chain(job.clone())).await, Ok(77));
    completed("chain", 77);
    assert!(send(of_a_lock()).await.is_ok_and(|length| length > 0));
    assert!(reported("lock")["result"].is_number());
    assert_eq!(of_a_condition(&Job { number: 0, ..job.clone() }).await, Ok(0));
    assert_eq!(send(of_a_condition(&job)).await, Ok(77));
    completed("77", 77);
}

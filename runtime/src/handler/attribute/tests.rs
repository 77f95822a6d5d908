//! What is known of a handler before it runs, and what it answers when it is asked for its webhook.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::async_handler;
use crate::handler::{Config, Handler, Headers, Payload, Run, Shared, State, States};
use postback_wire::report::Ends;

const OWN: &str = "https://example.com/own";
const CALLERS: &str = "https://example.com/callers";

/// The number of handler bodies that have run. The tests check that this number stays 0.
static RUNS: AtomicUsize = AtomicUsize::new(0);

#[async_handler(webhook = config.0, on = [failed])]
async fn at_once(config: Config<(String,)>, request_id: RequestId) -> Result<usize, String> {
    Ok(RUNS.fetch_add(1, Ordering::SeqCst))
}

#[async_handler(webhook = payload.as_deref())]
async fn waits(payload: Payload<Option<String>>, request_id: RequestId) -> Result<usize, String> {
    let runs = RUNS.fetch_add(1, Ordering::SeqCst);
    std::future::ready(()).await;
    Ok(runs)
}

#[async_handler(webhook = headers.text("x-hook").unwrap())]
async fn panics(headers: Headers, request_id: RequestId) -> Result<usize, String> {
    Ok(RUNS.fetch_add(1, Ordering::SeqCst))
}

fn hook(config: &(String,)) -> &str {
    &config.0
}

#[async_handler(webhook = hook(&config))]
async fn calls(config: Config<(String,)>, request_id: RequestId) -> Result<(), String> {
    Ok(())
}

#[async_handler(webhook = config.0, request_id = state.0)]
async fn under_another_id(config: Config<(String,)>, state: State<(u8,)>) -> Result<(), String> {
    Ok(())
}

#[async_handler(webhook = config.0)]
async fn generic<T: Default + Send>(config: Config<(String,)>, request_id: RequestId) -> Result<(), String> {
    drop(T::default());
    Ok(())
}

async fn plain(_: RequestId) -> Result<usize, String> {
    Ok(RUNS.fetch_add(1, Ordering::SeqCst))
}

struct Handlers;

#[expect(clippy::unused_async, reason = "a handler is async")]
impl Handlers {
    #[async_handler(webhook = config.0)]
    async fn method(config: Config<(String,)>, request_id: RequestId) -> Result<(), String> {
        Ok(())
    }
}

fn announced<A, H: Handler<A, (String,)>>(_: H) -> Option<&'static Announcement> {
    Announcement::of(type_name::<H>())
}

fn asked<A, H: Handler<A, (String,)>>(handler: H, body: &'static str) -> Option<Asked> {
    let mut states = States::default();
    states.insert((7_u8,));
    let bound = handler.bind(Arc::new(Shared { settings: Arc::new((OWN.to_owned(),)), states }));
    let run = Run::of(RequestId::stored("r"), Arc::new(HeaderMap::new()), Bytes::from_static(body.as_bytes()));
    ask(&run.id.clone(), (bound.run)(run))
}

fn urls(asked: &Asked) -> Vec<(&str, bool)> {
    let webhooks = asked.registered.webhooks.iter();
    webhooks.map(|target| (target.url(), target.webhook().unwrap().is_operator())).collect()
}

#[test]
fn an_announcement_is_found_by_the_path_of_its_function() {
    let said = |announced: Option<&'static Announcement>| {
        announced.map(|announced| (announced.webhook, announced.probe, announced.reads))
    };
    assert_eq!(said(announced(at_once)), Some(("config.0", WebhookProbe::ByUnwind, Reads::Plain)));
    assert_eq!(said(announced(waits)), Some(("payload.as_deref()", WebhookProbe::ByDrop, Reads::Pure)));
    assert_eq!(said(announced(calls)), Some(("hook(&config)", WebhookProbe::ByUnwind, Reads::Impure)));
    assert_eq!(said(announced(generic::<Vec<u8>>)), Some(("config.0", WebhookProbe::ByUnwind, Reads::Plain)));
    assert_eq!(said(announced(Handlers::method)), Some(("config.0", WebhookProbe::ByUnwind, Reads::Plain)));
    assert_eq!(said(announced(plain)), None);
    assert_eq!(said(announced(|config, _: Payload<u8>, request_id| at_once(config, request_id))), None);
}

#[test]
fn a_handler_that_is_asked_does_not_run() {
    let of_config = asked(at_once, "").unwrap();
    assert_eq!((urls(&of_config), of_config.registered.on), (vec![(OWN, true)], Ends::FAILED));
    assert!(of_config.is_requests && of_config.is_operator);
    let of_payload = asked(waits, r#""https://example.com/callers""#).unwrap();
    assert_eq!((urls(&of_payload), of_payload.is_operator), (vec![(CALLERS, false)], false));
    assert!(urls(&asked(waits, "null").unwrap()).is_empty());
    assert!(asked(waits, "7").is_none(), "the payload does not fit");
    assert!(asked(panics, "").is_none(), "the expression panicked");
    assert!(!asked(under_another_id, "").unwrap().is_requests);
    assert_eq!(RUNS.load(Ordering::SeqCst), 0);
}

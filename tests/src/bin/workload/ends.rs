//! Handlers that come to whatever end their caller wants: told by the settings' webhook, by the payload's, and by the route's.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use postback::{Config, Payload, RequestId, async_handler};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Gate, Settings};

/// While this file is there, no payload fits.
const STRICT: &str = "strict";

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Completed,
    Error,
    Panic,
    Unserializable,
    Waits,
    Abort,
    Exit,
    Overflow,
    Memory,
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(deserialize_with = "unless_strict")]
    end: End,
    hook: String,
    #[serde(default)]
    gate: String,
}

fn unless_strict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<End, D::Error> {
    if Path::new(STRICT).exists() {
        return Err(serde::de::Error::custom("it is of an older form"));
    }
    End::deserialize(deserializer)
}

/// JSON has no maps with the keys that the second has.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Made {
    Text(&'static str),
    Map(HashMap<(u8, u8), u8>),
}

#[async_handler(webhook = config.webhook_url)]
pub async fn by_config(
    config: Config<Settings>,
    payload: Payload<Wanted>,
    request_id: RequestId,
) -> Result<Made, String> {
    come_to(&payload, &request_id).await
}

#[async_handler(webhook = payload.hook)]
pub async fn by_payload(payload: Payload<Wanted>, request_id: RequestId) -> Result<Made, String> {
    come_to(&payload, &request_id).await
}

/// The attribute is not on the function that is routed, so nothing is known of it before a run.
pub async fn hidden(config: Config<Settings>, payload: Payload<Wanted>, id: RequestId) -> Result<Made, String> {
    by_config(config, payload, id).await
}

fn hook_of(wanted: &Wanted) -> &str {
    &wanted.hook
}

/// Like that of the payload, by an expression that is evaluated in runs alone.
#[async_handler(webhook = hook_of(&payload))]
pub async fn by_function(payload: Payload<Wanted>, request_id: RequestId) -> Result<Made, String> {
    come_to(&payload, &request_id).await
}

/// Of the route.
pub async fn by_route(payload: Payload<Wanted>, request_id: RequestId) -> Result<Made, String> {
    come_to(&payload, &request_id).await
}

async fn come_to(wanted: &Wanted, id: &RequestId) -> Result<Made, String> {
    println!("{id} begins");
    match wanted.end {
        End::Completed => Ok(Made::Text("done")),
        End::Error => Err("as it was wanted".to_owned()),
        End::Panic => panic!("as it was wanted"),
        End::Unserializable => Ok(Made::Map(HashMap::from([((1, 2), 3)]))),
        End::Waits => {
            Gate { gate: wanted.gate.clone(), text: String::new() }.opened().await;
            Ok(Made::Text("waited"))
        }
        End::Abort => std::process::abort(),
        End::Exit => std::process::exit(7),
        End::Overflow => Err(deep(black_box(0)).to_string()),
        // What the allocator says when the memory is used up, without using it up.
        End::Memory => Err(Vec::<u8>::with_capacity(black_box(1 << 62)).len().to_string()),
    }
}

/// Has no end that its stack could reach.
#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn deep(n: u64) -> u64 {
    let frame = black_box([n; 512]);
    deep(n + 1) + frame[0]
}

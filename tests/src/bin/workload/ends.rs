//! Handlers that end as their caller wants. They report to the webhook of the settings, of the payload or of the route.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use postback::{Config, Payload, RequestId, async_handler};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Gate, Settings};

/// While this file exists, deserialising a payload fails, as if the program had a newer payload type.
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

/// A result. The variant `Map` cannot be serialised, because JSON has no maps with such keys.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Output {
    Text(&'static str),
    Map(HashMap<(u8, u8), u8>),
}

/// Runs until its gate is open. Prints a line when it begins. The result says which process has run it.
#[async_handler(webhook = config.webhook_url)]
pub async fn by_process(
    config: Config<Settings>,
    payload: Payload<Gate>,
    request_id: RequestId,
) -> Result<String, String> {
    println!("{request_id} begins");
    payload.opened().await;
    Ok(format!("{} of process {}", payload.text, std::process::id()))
}

#[async_handler(webhook = config.webhook_url)]
pub async fn by_config(
    config: Config<Settings>,
    payload: Payload<Wanted>,
    request_id: RequestId,
) -> Result<Output, String> {
    end_as_wanted(&payload, &request_id).await
}

#[async_handler(webhook = payload.hook)]
pub async fn by_payload(payload: Payload<Wanted>, request_id: RequestId) -> Result<Output, String> {
    end_as_wanted(&payload, &request_id).await
}

/// The attribute is not on the routed function, so its webhook is unknown before a run.
pub async fn hidden(config: Config<Settings>, payload: Payload<Wanted>, id: RequestId) -> Result<Output, String> {
    by_config(config, payload, id).await
}

fn hook_of(wanted: &Wanted) -> &str {
    &wanted.hook
}

/// Reports to the webhook of the payload. The expression calls a function, so it is evaluated only in a run.
#[async_handler(webhook = hook_of(&payload))]
pub async fn by_function(payload: Payload<Wanted>, request_id: RequestId) -> Result<Output, String> {
    end_as_wanted(&payload, &request_id).await
}

/// Has no attribute, so it reports to the webhook of its route.
pub async fn by_route(payload: Payload<Wanted>, request_id: RequestId) -> Result<Output, String> {
    end_as_wanted(&payload, &request_id).await
}

async fn end_as_wanted(wanted: &Wanted, id: &RequestId) -> Result<Output, String> {
    println!("{id} begins");
    match wanted.end {
        End::Completed => Ok(Output::Text("done")),
        End::Error => Err("as it was wanted".to_owned()),
        End::Panic => panic!("as it was wanted"),
        End::Unserializable => Ok(Output::Map(HashMap::from([((1, 2), 3)]))),
        End::Waits => {
            Gate { gate: wanted.gate.clone(), text: String::new() }.opened().await;
            Ok(Output::Text("waited"))
        }
        End::Abort => std::process::abort(),
        End::Exit => std::process::exit(7),
        End::Overflow => Err(deep(black_box(0)).to_string()),
        // An allocation that is too large fails as if the memory were used up.
        End::Memory => Err(Vec::<u8>::with_capacity(black_box(1 << 62)).len().to_string()),
    }
}

/// Calls itself without an end, so that the stack overflows.
#[expect(unconditional_recursion, reason = "the recursion must overflow the stack")]
fn deep(n: u64) -> u64 {
    let frame = black_box([n; 512]);
    deep(n + 1) + frame[0]
}

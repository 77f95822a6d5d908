//! Work in batches, as inference servers do: up to 16 texts go through the model at once.
//!
//! ```sh
//! cargo run --example batch -- serve --inspect
//! ```
//!
//! Post several texts quickly, and each gets its own answer, although they share a batch:
//!
//! ```sh
//! for text in one two three; do
//!     curl -d "\"$text\"" -H 'content-type: application/json' http://127.0.0.1:8080/embed
//! done
//! ```

use std::time::Duration;

use postback::{App, Batch, Config, State};
use serde::{Deserialize, Serialize};

/// The settings of this program: the table `[config]` in postback.toml.
#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
    /// How long the model takes for a batch, in milliseconds.
    #[serde(default = "a_moment")]
    model_ms: u64,
}

fn a_moment() -> u64 {
    50
}

/// A model that takes as long for many texts as for one.
struct Model;

impl Model {
    async fn embed(&self, texts: &[&str], takes: Duration) -> Vec<[f32; 3]> {
        tokio::time::sleep(takes).await;
        texts
            .iter()
            .map(|text| [0, 1, 2].map(|n| f32::from(text.as_bytes().get(n).copied().unwrap_or(0)) / 255.0))
            .collect()
    }
}

#[derive(Serialize)]
struct Embedding {
    vector: [f32; 3],
    /// How many texts were in the batch.
    batch: usize,
}

async fn embed(
    settings: Config<Settings>,
    model: State<Model>,
    batch: Batch<String>,
) -> Vec<Result<Embedding, &'static str>> {
    let texts: Vec<&str> = batch.iter().map(|item| item.payload.as_str()).collect();
    let vectors = model.embed(&texts, Duration::from_millis(settings.model_ms)).await;
    let outcome = |(text, vector): (&&str, [f32; 3])| {
        if text.is_empty() { Err("the text is empty") } else { Ok(Embedding { vector, batch: texts.len() }) }
    };
    texts.iter().zip(vectors).map(outcome).collect()
}

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    // A handler of a batch has no attribute, so the route says where its reports go.
    let webhook = settings.webhook_url.clone();
    App::new(settings)
        .state(Model)
        .batch("/embed", 16, Duration::from_millis(20), embed)
        .webhook(webhook)
        .example(r#""a text""#)
}

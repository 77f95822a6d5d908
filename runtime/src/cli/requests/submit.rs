//! `requests submit`: makes a request of a running server, in the operator's name.

use std::path::PathBuf;

use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::form_urlencoded::Serializer;

use crate::admin::client::Client;
use crate::admin::model::Submitted;
use crate::cli::remote::{Done, Remote, json, said};
use crate::cli::run::{header, query, read_file};
use postback_wire::line::Escaped;

/// The largest payload that is read, in bytes. It is the largest value of `server.max_payload`; the server refuses what
/// is larger than its own value.
const MAX_PAYLOAD: usize = 512 << 20;

/// The arguments of `requests submit`.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The path of the route, such as /greet
    route: String,
    /// Read the payload from this file, or from standard input if it is `-`; empty, if left out
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A header of the request, such as 'postback-run-at: +10m'; may be repeated
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The query of the request, such as 'lang=en&size=2'
    #[arg(long, value_name = "QUERY", value_parser = query)]
    query: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) remote: Remote,
}

impl Submit {
    /// Makes the request. Returns the text to print, or why the server has not accepted it.
    pub(super) async fn run(&self, client: &Client) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.header {
            headers.append(name.clone(), value.clone());
        }
        if !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = read_file(self.input.as_deref(), MAX_PAYLOAD)?;
        let target = match &self.query {
            Some(query) => format!("{}?{query}", self.route),
            None => self.route.clone(),
        };
        let query = Serializer::new(String::new()).append_pair("route", &target).finish();
        let answer = client.post_bytes(&format!("/requests?{query}"), headers, body.into()).await;
        let submitted: Submitted = answer.map_err(|error| said(&error))?;
        let Submitted { id, route } = &submitted;
        let done = Done::new(format!("{} accepted by {}\n", Escaped(id), Escaped(route)), &submitted);
        if self.json { json(&done.value) } else { Ok(done.text) }
    }
}

//! The command `requests`: lists and shows requests, makes and cancels them, and runs them again.

mod submit;

use std::fmt::Write as _;
use std::path::Path;

use clap::Subcommand;

use self::submit::Submit;
use super::deliveries;
use super::offline_store::{is_kept, with_client};
use super::remote::{Done, ListArguments, Remote, each, json, listed, said};
use super::table::Table;
use crate::admin::client::Client;
use crate::admin::model::{Cancelled, Checkpoint, Content, Event, Progress, Request, RequestDetail, Retried};
use crate::handler::Routes;
use postback_store::{self as store, Location};
use postback_wire::id::RequestId;
use postback_wire::line::Escaped;

/// The subcommands of `requests`.
#[derive(Debug, Subcommand)]
pub(crate) enum Requests {
    /// List requests, the newest first
    List {
        /// Only requests of this route, such as /greet
        #[arg(long)]
        route: Option<String>,
        /// Only requests with this status: in_queue, in_progress, completed, failed or cancelled
        #[arg(long)]
        status: Option<String>,
        /// Only requests that were made with the token with this id
        #[arg(long, value_name = "ID")]
        token: Option<String>,
        /// Only requests whose ids begin with this text
        #[arg(long, value_name = "TEXT")]
        id: Option<String>,
        /// Only requests made at this time or later: 2026-11-23T08:00:00Z, or how long ago, such as 10m
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Only requests made before this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        list: ListArguments,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a request with its payload, result, timeline and deliveries
    Show {
        /// The id of the request
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a request of a route, without the token of a caller
    Submit(Submit),
    /// Cancel requests
    Cancel {
        /// The ids of the requests
        #[arg(required = true)]
        ids: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Run failed or cancelled requests again, each as a new request with the same payload
    Retry {
        /// The ids of the requests
        #[arg(required = true)]
        ids: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Requests {
    fn remote(&self) -> &Remote {
        match self {
            Self::List { remote, .. }
            | Self::Show { remote, .. }
            | Self::Cancel { remote, .. }
            | Self::Retry { remote, .. } => remote,
            Self::Submit(submit) => &submit.remote,
        }
    }

    pub(super) fn common(&self) -> &super::Common {
        &self.remote().common
    }

    /// Makes a client of the running server. `None`: no server has the store open.
    pub(crate) fn client(&self, place: &Location, ca_file: Option<&Path>) -> Result<Option<Client>, String> {
        self.remote().find(place, ca_file)
    }

    /// Whether the command needs the routes of the program, if no server runs that has them: it changes requests.
    pub(crate) fn needs_routes(&self, place: &Location) -> bool {
        matches!(self, Self::Cancel { .. } | Self::Retry { .. }) && is_kept(place)
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(
        &self,
        client: Option<Client>,
        (options, routes): (&store::Options, Routes),
        ca_file: Option<&Path>,
    ) -> Result<String, String> {
        match (client, self) {
            (Some(client), _) => self.ask(&client).await,
            // Without a server, nobody would run the request.
            (None, Self::Submit(_)) => self.remote().client(&options.place, ca_file).map(|_| String::new()),
            (None, _) if is_kept(&options.place) => {
                with_client(options.clone(), routes, async |client| self.ask(client).await).await
            }
            (None, _) => self.remote().client(&options.place, ca_file).map(|_| String::new()),
        }
    }

    /// Runs the command with this client.
    async fn ask(&self, client: &Client) -> Result<String, String> {
        match self {
            Self::List { route, status, token, id, since, until, list, .. } => {
                let filters = [
                    ("route", route.as_deref()),
                    ("status", status.as_deref()),
                    ("token", token.as_deref()),
                    ("id", id.as_deref()),
                    ("since", since.as_deref()),
                    ("until", until.as_deref()),
                ];
                let requests: Vec<Request> =
                    listed(client, "/requests", &filters, list.limit).await.map_err(|error| said(&error))?;
                if list.json { json(&requests) } else { Ok(lines(&requests)) }
            }
            Self::Show { id, json: as_json, .. } => {
                let shown: RequestDetail = client.get(&path(id, "")?).await.map_err(|error| said(&error))?;
                if *as_json { json(&shown) } else { Ok(detail(&shown)) }
            }
            Self::Submit(submit) => submit.run(client).await,
            Self::Cancel { ids, json, .. } => each(ids, *json, async |id| cancel(client, id).await).await,
            Self::Retry { ids, json, .. } => each(ids, *json, async |id| retry(client, id).await).await,
        }
    }
}

/// Returns the path of a request in the API. An id of other characters than ids have is refused here, because it would
/// not fit into a path.
fn path(id: &str, rest: &str) -> Result<String, String> {
    let id: RequestId = id.parse().map_err(|error| format!("`{}` is not the id of a request: {error}", Escaped(id)))?;
    Ok(format!("/requests/{id}{rest}"))
}

async fn cancel(client: &Client, id: &str) -> Result<Done, String> {
    let answer = client.post(&path(id, "/cancel")?, &serde_json::json!({})).await;
    let cancelled: Cancelled = answer.map_err(|error| said(&error))?;
    let id = Escaped(&cancelled.id);
    let text = match cancelled.status.as_str() {
        "cancelled" => format!("{id} is cancelled\n"),
        _ => format!("{id} is being cancelled; its run was told to stop\n"),
    };
    Ok(Done::new(text, &cancelled))
}

async fn retry(client: &Client, id: &str) -> Result<Done, String> {
    let answer = client.post(&path(id, "/retry")?, &serde_json::json!({})).await;
    let retried: Retried = answer.map_err(|error| said(&error))?;
    let Retried { id, retry_of } = &retried;
    Ok(Done::new(format!("{} runs again, as request {}\n", Escaped(retry_of), Escaped(id)), &retried))
}

fn lines(requests: &[Request]) -> String {
    if requests.is_empty() {
        return "no request matches\n".to_owned();
    }
    let mut table = Table::with_status(2);
    for request in requests {
        table.row(cells(request));
    }
    table.text()
}

fn line(request: &Request) -> String {
    let cells = cells(request);
    cells.iter().filter(|cell| !cell.is_empty()).map(String::as_str).collect::<Vec<_>>().join("  ")
}

/// Returns what the list shows about a request: its id, its route, its status, when it was made, and its token.
fn cells(request: &Request) -> Vec<String> {
    let Request { id, route, status, reason, token, created, cancelling, .. } = request;
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let token = token.as_ref().map_or_else(String::new, |token| format!("token {token}"));
    let cancelling = if *cancelling { ", being cancelled" } else { "" };
    let status = format!("{status}{reason}{cancelling}");
    [id, route, &status, created, &token].iter().map(|cell| Escaped(cell).to_string()).collect()
}

// The results of `writeln!` are ignored below, because writing to a `String` cannot fail.

fn detail(shown: &RequestDetail) -> String {
    let RequestDetail { request, retry_of, headers, payload, result, error, detail, webhooks, .. } = shown;
    let RequestDetail { deadline, metadata, query, caller_webhook, deliveries_truncated, .. } = shown;
    let mut text = format!("{}\n", line(request));
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10} {}", Escaped(value));
    };
    if let Some(id) = retry_of {
        say("retry of", id);
    }
    if let Some(due) = &request.due {
        say("due", due);
    }
    if let Some(deadline) = deadline {
        say("deadline", deadline);
    }
    if let Some(metadata) = metadata {
        say("metadata", &metadata.to_string());
    }
    if let Some(query) = query {
        say("query", query);
    }
    for (name, value) in headers {
        say("header", &format!("{name}: {value}"));
    }
    for (name, part) in [("payload", payload), ("result", result), ("error", error)] {
        if let Some(part) = part {
            say(name, &shown_text(part));
        }
    }
    if let Some(detail) = detail {
        say("detail", detail);
    }
    for webhook in webhooks.iter().chain(caller_webhook) {
        say("webhook", webhook);
    }
    for Event { at, what, run, detail } in &shown.timeline {
        let run = run.map_or_else(String::new, |run| format!(" {run}"));
        let detail = detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
        say("timeline", &format!("{at}  {what}{run}{detail}"));
    }
    if let Some(progress) = &shown.progress {
        say("progress", &told(progress));
    }
    if let Some(Checkpoint { bytes, saved }) = &shown.checkpoint {
        let saved = saved.as_deref().unwrap_or("by an earlier version");
        say("checkpoint", &format!("{bytes} bytes, saved {saved}"));
    }
    for delivery in &shown.deliveries {
        say("delivery", &deliveries::line(delivery));
    }
    if *deliveries_truncated {
        say("delivery", &format!("… and earlier ones; `deliveries list --subject {}` lists all", request.id));
    }
    text
}

/// Shows a progress on one line.
fn told(progress: &Progress) -> String {
    let Progress { fraction, message, detail, at, sequence, run } = progress;
    let mut text = format!("{at}  {sequence}, run {run}");
    if let Some(fraction) = fraction {
        let _ = write!(text, ": {:.0} %", fraction * 100.0);
    }
    if let Some(message) = message {
        let _ = write!(text, "  {message}");
    }
    if let Some(detail) = detail {
        let _ = write!(text, "  {detail}");
    }
    text
}

/// Shows a payload or a result on one line.
pub(super) fn shown_text(text: &Content) -> String {
    let Content { bytes, truncated, text, base64 } = text;
    let shown = match (text, base64) {
        (Some(text), _) => text.clone(),
        (None, Some(base64)) => format!("base64 {base64}"),
        (None, None) => String::new(),
    };
    if *truncated { format!("{shown}… ({bytes} bytes)") } else { shown }
}

//! The command `deliveries`: lists and shows deliveries, and sends reports again after their deliveries are over.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;

use super::offline_store::{BY, CommandResult, is_kept, with_client, with_store};
use super::progress::Progress;
use super::remote::{Done, ListArguments, Remote, each, finished, json, listed, said};
use super::requests::shown_text;
use super::table::Table;
use crate::admin::audit;
use crate::admin::client::Client;
use crate::admin::model::{Attempt, Delivery, DeliveryDetail, Replay, Replayed as Answer, Selection};
use crate::handler::Routes;
use postback_store::{self as store, DeliveryRecord, DeliveryState, Replayed, Store};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::line::Escaped;
use postback_wire::webhook::shown;

/// The largest number of deliveries of one request that are listed.
const MAX_LISTED: usize = 20;
/// The time between two looks at the progress of a replay.
const LOOK: Duration = Duration::from_millis(200);

/// The subcommands of `deliveries`.
#[derive(Debug, Subcommand)]
pub(crate) enum Deliveries {
    /// List deliveries, the newest first
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        list: ListArguments,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show a delivery with its body and every attempt
    Show {
        /// The id of the delivery
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send webhooks again whose deliveries are over (delivered, dead, refused or gone), with the same ids and the same
    /// bytes
    Replay {
        /// The `webhook-id` of each delivery; its receiver got it, and `list` shows it
        ids: Vec<String>,
        /// Replay all deliveries that the filters select
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        filter: Filter,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Selects deliveries.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only deliveries in this state: pending, parked, held, delivering, delivered, dead, refused or gone
    #[arg(long)]
    status: Option<String>,
    /// Only deliveries to URLs that begin with this text
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Only deliveries about this subject, such as the id of a request
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only deliveries made at this time or later: 2026-11-23T08:00:00Z, or how long ago, such as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only deliveries made before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        let Self { status, to, subject, since, until } = self;
        [status, to, subject, since, until].into_iter().all(Option::is_none)
    }
}

impl Deliveries {
    fn remote(&self) -> &Remote {
        match self {
            Self::List { remote, .. } | Self::Show { remote, .. } | Self::Replay { remote, .. } => remote,
        }
    }

    pub(super) fn common(&self) -> &super::Common {
        &self.remote().common
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, options: store::Options, ca_file: Option<&Path>) -> Result<String, String> {
        match (self.remote().find(&options.place, ca_file)?, self) {
            (Some(client), _) => self.ask(&client).await,
            (None, Self::Replay { ids, all: false, filter, json, .. }) => {
                one_or_more(ids, filter)?;
                with_store(options, async |store| replay_each(store, ids, *json).await).await
            }
            (None, _) if is_kept(&options.place) => {
                with_client(options, Routes::default(), async |client| self.ask(client).await).await
            }
            _ => self.remote().client(&options.place, ca_file).map(|_| String::new()),
        }
    }

    /// Runs the command with this client.
    async fn ask(&self, client: &Client) -> Result<String, String> {
        match self {
            Self::List { filter, list, .. } => {
                let Filter { status, to, subject, since, until } = filter;
                let filters = [
                    ("status", status.as_deref()),
                    ("url", to.as_deref()),
                    ("subject", subject.as_deref()),
                    ("since", since.as_deref()),
                    ("until", until.as_deref()),
                ];
                let deliveries =
                    listed(client, "/deliveries", &filters, list.limit).await.map_err(|error| said(&error))?;
                if list.json { json(&deliveries) } else { Ok(lines(&deliveries)) }
            }
            Self::Show { id, json: as_json, .. } => {
                let Ok(delivery) = id.parse::<ReportId>() else {
                    return Err(not_a_delivery(client, id, format!("`{}` is not a UUID", Escaped(id))).await);
                };
                match client.get::<DeliveryDetail>(&format!("/deliveries/{delivery}")).await {
                    Ok(shown) if *as_json => json(&shown),
                    Ok(shown) => Ok(detail(&shown)),
                    Err(error) if error.is_not_found() => Err(not_a_delivery(client, id, said(&error)).await),
                    Err(error) => Err(said(&error)),
                }
            }
            Self::Replay { ids, all, filter, json, .. } => {
                if *all {
                    return replay_all(client, filter, *json).await;
                }
                one_or_more(ids, filter)?;
                each(ids, *json, async |id| replay_live(client, id).await).await
            }
        }
    }
}

/// Checks that a replay of single deliveries names some, and has no filter.
fn one_or_more(ids: &[String], filter: &Filter) -> Result<(), String> {
    if ids.is_empty() || !filter.is_empty() {
        return Err("name the ids of deliveries, or use --all with at least one filter".to_owned());
    }
    Ok(())
}

async fn replay_live(client: &Client, id: &str) -> Result<Done, String> {
    let Ok(delivery) = id.parse::<ReportId>() else {
        let why = format!("`{}` is not the id of a delivery, which is a UUID", Escaped(id));
        return Err(not_a_delivery(client, id, why).await);
    };
    match client.post(&format!("/deliveries/{delivery}/replay"), &serde_json::json!({})).await {
        Ok(answer) => {
            let Answer { id: copy, url, held, .. } = &answer;
            let when = if *held { " once it is enabled again (`endpoints enable`)" } else { "" };
            let text = format!("{id} is sent to {} again{when}, as delivery {}\n", Escaped(url), Escaped(copy));
            Ok(Done::new(text, &answer))
        }
        Err(error) if error.is_not_found() => Err(not_a_delivery(client, id, said(&error)).await),
        Err(error) => Err(said(&error)),
    }
}

/// Makes the error message for an id that is not the id of a delivery. If the id is the id of a request, the message
/// lists its deliveries.
async fn not_a_delivery(client: &Client, id: &str, why: String) -> String {
    let about = [("subject", Some(id))];
    let deliveries: Vec<Delivery> = listed(client, "/deliveries", &about, MAX_LISTED).await.unwrap_or_default();
    if deliveries.is_empty() {
        return why;
    }
    let mut text =
        format!("`{}` is what reports are about, and not the id of a delivery; its deliveries are:", Escaped(id));
    for delivery in &deliveries {
        // The result of `write!` is ignored, because writing to a `String` cannot fail.
        let _ = write!(text, "\n  {}", line(delivery));
    }
    text
}

/// Replays all deliveries that the filter selects, and shows the progress.
async fn replay_all(client: &Client, filter: &Filter, as_json: bool) -> Result<String, String> {
    if filter.is_empty() {
        return Err("--all needs at least one of --status, --to, --subject, --since and --until".to_owned());
    }
    let Filter { status, to, subject, since, until } = filter;
    let selection = Selection {
        ids: Vec::new(),
        status: status.clone(),
        url: to.clone(),
        subject: subject.clone(),
        since: since.clone(),
        until: until.clone(),
    };
    let mut replay: Replay = client.post("/replays", &selection).await.map_err(|error| said(&error))?;
    let mut progress = Progress::begin(None, as_json);
    while replay.state == "running" {
        tokio::time::sleep(LOOK).await;
        replay = client.get(&format!("/replays/{}", replay.id)).await.map_err(|error| said(&error))?;
        let Replay { replayed, skipped, .. } = replay;
        progress.at(replayed + skipped, &format!("{replayed} are sent again, {skipped} are not"));
    }
    drop(progress);
    let as_text = if as_json { Some(json(&replay)?) } else { None };
    let Replay { state, replayed, skipped, error, .. } = replay;
    let skipped = match skipped {
        0 => String::new(),
        n => format!("; {n} are not, because they are not over, or are being sent again already"),
    };
    let text = format!("{replayed} deliveries are sent again{skipped}\n");
    match state.as_str() {
        "done" => Ok(as_text.unwrap_or(text)),
        "stopped" => Err(format!("the replay was stopped: {}", text.trim_end())),
        _ => Err(format!("the replay has failed ({}): {}", Escaped(&error.unwrap_or_default()), text.trim_end())),
    }
}

fn lines(deliveries: &[Delivery]) -> String {
    if deliveries.is_empty() {
        return "no delivery matches\n".to_owned();
    }
    let mut table = Table::with_status(1);
    for delivery in deliveries {
        table.row(cells(delivery));
    }
    table.text()
}

/// Shows a delivery on one line.
pub(super) fn line(delivery: &Delivery) -> String {
    cells(delivery).join("  ")
}

/// Returns what the list shows about a delivery: its id, what has become of it, when it was made, and what it is about.
fn cells(delivery: &Delivery) -> Vec<String> {
    let Delivery { id, webhook_id, subject, url, status, created, attempts, last_attempt, refused, .. } = delivery;
    let again = if webhook_id == id { String::new() } else { format!(", a replay of {webhook_id}") };
    let last = last_attempt.as_ref().map_or_else(String::new, |last| format!(": {}", answer(last)));
    let why = refused.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let s = if *attempts == 1 { "" } else { "s" };
    let end = format!("{status} to {url} after {attempts} attempt{s}{last}{why}");
    [id, &end, created, &format!("about {subject}{again}")].iter().map(|cell| Escaped(cell).to_string()).collect()
}

fn answer(attempt: &Attempt) -> String {
    match (&attempt.error, attempt.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => status.to_string(),
        (None, None) => "no answer".to_owned(),
    }
}

fn detail(shown: &DeliveryDetail) -> String {
    let mut text = format!("{}\n", line(&shown.delivery));
    let mut say = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {}", Escaped(value));
    };
    if let Some(next) = &shown.delivery.next_attempt {
        say("next", next);
    }
    if let Some(body) = &shown.body {
        say("body", &shown_text(body));
    }
    for attempt in &shown.history {
        let Attempt { number, started, took_ms, response, .. } = attempt;
        let response = if response.is_empty() { String::new() } else { format!("  {response}") };
        say("attempt", &format!("{number}  {started}  {} in {took_ms} ms{response}", answer(attempt)));
    }
    text
}

/// Replays deliveries of a stopped server.
async fn replay_each(store: &Store, ids: &[String], as_json: bool) -> CommandResult {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for id in ids {
        match replay(store, id).await? {
            Ok(one) => done.push(one),
            Err(why) => failed.push(why),
        }
    }
    Ok(finished(&done, &failed, as_json))
}

async fn replay(store: &Store, id: &str) -> CommandResult<Done> {
    let Ok(delivery) = id.parse::<ReportId>() else { return Ok(Err(of_request(store, id).await?)) };
    Ok(match store.replay(delivery).await? {
        Replayed::As { delivery, url } => {
            audit::record(store, &BY, "delivery.replay", id, &format!("as {delivery}")).await;
            let disabled = store.is_disabled(&url);
            let url = shown(&url);
            let when = if disabled { "once it is enabled again (`endpoints enable`)" } else { "at the next start" };
            let text = format!("{id} will be sent to {url} again {when}, as delivery {delivery}\n");
            let answer = Answer { id: delivery.to_string(), replay_of: id.to_owned(), url, held: disabled };
            Ok(Done::new(text, &answer))
        }
        Replayed::NotOver => Err(format!("delivery {id} is not over: the next start continues it")),
        Replayed::Waiting { delivery } => Err(format!(
            "{id} will already be sent again, as delivery {delivery}, which is not over: nothing was added"
        )),
        Replayed::NoBody => Err(format!("the body of {id} is no longer stored, so it cannot be sent again")),
        Replayed::Unknown => Err(of_request(store, id).await?),
    })
}

/// Makes the error message for an id that is not the id of a delivery. If `id` is the id of a request, the message
/// lists the deliveries of the request.
async fn of_request(store: &Store, id: &str) -> Result<String, store::Error> {
    let shown = Escaped(id);
    let is_request = match id.parse::<RequestId>() {
        Ok(request) => store.request(&request).await?.is_some(),
        Err(_) => false,
    };
    let deliveries = store.deliveries(id).await?;
    let what = if is_request { "the id of a request" } else { "what reports are about, and not the id of a delivery" };
    if deliveries.is_empty() && is_request {
        return Ok(format!(
            "`{shown}` is the id of a request that has no deliveries: it has no webhook, or is not over"
        ));
    }
    if deliveries.is_empty() {
        return Ok(match id.parse::<ReportId>() {
            Ok(_) => {
                format!("there is no delivery {shown}; deliveries that are over are deleted after store.retention")
            }
            Err(_) => {
                format!("`{shown}` is not the id of a delivery, which is a UUID, and there is no request with this id")
            }
        });
    }
    let mut text = format!("`{shown}` is {what}; its deliveries are:");
    for DeliveryRecord { id, webhook_id, url, state, .. } in deliveries.iter().take(MAX_LISTED) {
        let again = if webhook_id == id { String::new() } else { format!(", a replay of {webhook_id}") };
        // The result of `write!` is ignored, because writing to a `String` cannot fail.
        let _ = write!(text, "\n  {id}  {} to {}{again}", word(*state), postback_wire::webhook::shown(url));
    }
    if let Some(more) = deliveries.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        let _ = write!(text, "\n  and {more} more");
    }
    Ok(text)
}

fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "waiting",
        DeliveryState::Delivering => "being sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
        DeliveryState::Refused => "refused",
        DeliveryState::Gone => "gone",
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;

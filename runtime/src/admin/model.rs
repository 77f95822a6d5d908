//! The JSON of the operator's API. The server writes it, and the commands read it.

mod count;
mod node;
mod run;
mod schedule;
mod series;
mod submitted;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::count::Count;
pub(crate) use self::node::Node;
pub(crate) use self::run::{Checkpoint, Progress};
pub(crate) use self::schedule::Schedule;
pub(crate) use self::series::{DeliverySeries, LatencySeries, RequestSeries, Series, WaitingSeries};
pub(crate) use self::submitted::Submitted;

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// The query parameter `cursor` of the next page. Absent: this is the last page. A page may have fewer items than
    /// were asked for, or none, and still have a next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) route: String,
    /// `in_queue`, `in_progress`, `completed`, `failed` or `cancelled`.
    pub(crate) status: String,
    /// Why the request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The id of the token that made the request. Absent: the caller needed no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    pub(crate) created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<String>,
    /// When a waiting request may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
    /// The number of runs that failed and were followed by another run.
    pub(crate) failures: u32,
    /// The number of runs during which the process ended.
    pub(crate) crashes: u32,
    /// Whether a run was told to stop, and has not stopped yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cancelling: bool,
}

/// One request, with all that is stored about it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RequestDetail {
    #[serde(flatten)]
    pub(crate) request: Request,
    pub(crate) priority: i8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    /// The time until which the first run must begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<String>,
    /// The JSON that the caller sent in the header `postback-metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<serde_json::Value>,
    /// The query of the call that made the request, if the handler reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
    /// The webhook that the caller sent in the header `postback-webhook`, without the secret parts of its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) caller_webhook: Option<String>,
    /// The id of the request that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_of: Option<String>,
    /// The headers of the call that made the request, without credentials.
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Content>,
    /// The error that the caller sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Content>,
    /// What the log says about the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The webhooks that the outcome is reported to, without the secret parts of their URLs.
    pub(crate) webhooks: Vec<String>,
    pub(crate) timeline: Vec<Event>,
    /// What the request has told last about its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Progress>,
    /// What the runs have saved last for the next run, until the request has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The last 100 deliveries of the reports.
    pub(crate) deliveries: Vec<Delivery>,
    /// Whether there are more deliveries than these. `GET /deliveries?subject=ID` lists all.
    #[serde(default)]
    pub(crate) deliveries_truncated: bool,
}

/// Something that has happened to a request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Event {
    pub(crate) at: String,
    /// `accepted`, `run_began`, `run_failed`, `run_put_back`, `run_lost`, or the final status of the request.
    pub(crate) what: String,
    /// The number of the run, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// A payload, a result or the body of a report. One of `text` and `base64` is present.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Content {
    /// The length of the whole text.
    pub(crate) bytes: u64,
    /// Whether only the first part of the text is here.
    pub(crate) truncated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Bytes that are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

/// What became of a cancelled request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cancelled {
    pub(crate) id: String,
    /// `cancelled`, or `in_progress` while its run has not stopped yet.
    pub(crate) status: String,
}

/// The new request that repeats an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Retried {
    pub(crate) id: String,
    pub(crate) retry_of: String,
}

/// One delivery.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    /// The header `webhook-id` of every attempt. In a replay, the id of the first delivery.
    pub(crate) webhook_id: String,
    /// What the report is about, such as the id of a request.
    pub(crate) subject: String,
    /// The URL without its secret parts.
    pub(crate) url: String,
    /// `pending`, `parked`, `held`, `delivering`, `delivered`, `dead`, `refused` or `gone`.
    pub(crate) status: String,
    pub(crate) created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<String>,
    /// The number of attempts that have begun.
    pub(crate) attempts: u32,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_attempt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_attempt: Option<Attempt>,
    /// Why the delivery ended without an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

/// One delivery, with its body and every attempt.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeliveryDetail {
    #[serde(flatten)]
    pub(crate) delivery: Delivery,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Content>,
    /// The attempts that have finished, the first one first. At most the last 200.
    pub(crate) history: Vec<Attempt>,
}

/// One attempt of a delivery.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) started: String,
    pub(crate) took_ms: u64,
    /// The HTTP status of the answer. Absent: there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The first bytes of the answer's body.
    pub(crate) response: String,
}

/// A delivery that is sent again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Replayed {
    /// The id of the new delivery.
    pub(crate) id: String,
    pub(crate) replay_of: String,
    pub(crate) url: String,
    /// Whether the URL or its origin is disabled, so that the new delivery waits until it is enabled.
    pub(crate) held: bool,
}

/// Which deliveries are sent again: those with these ids, or those that all the other members select.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Selection {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
}

/// A replay of many deliveries, which goes on after the call that began it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Replay {
    pub(crate) id: String,
    /// `running`, `done`, `stopped` or `failed`.
    pub(crate) state: String,
    pub(crate) began: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<String>,
    pub(crate) selection: Selection,
    /// The deliveries that are sent again.
    pub(crate) replayed: u64,
    /// The deliveries that were selected and are not sent again: they are not over, or are being sent again already,
    /// or their bodies are not stored any more.
    pub(crate) skipped: u64,
    /// Why the replay has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// An origin to which reports wait, or whose circuit is open, or that is disabled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Origin {
    /// Scheme, host and port; or a single URL, without its secret parts, if that URL has a circuit of its own.
    #[serde(rename = "origin")]
    pub(crate) name: String,
    /// `closed`, `open`, or `testing` while a single attempt finds out whether the receiver works.
    pub(crate) circuit: String,
    /// When a single attempt tests the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test_at: Option<String>,
    /// The reports that wait for their turn. 1,000 means 1,000 or more.
    pub(crate) parked: u64,
    /// The reports that wait until the origin is enabled. 1,000 means 1,000 or more.
    pub(crate) held: u64,
    pub(crate) disabled: bool,
}

/// A disabled URL or origin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Endpoint {
    /// The URL without its secret parts.
    pub(crate) url: String,
    pub(crate) since: String,
    pub(crate) reason: String,
    /// Who disabled it: `receiver` or `operator`.
    pub(crate) by: String,
    /// The reports that wait until the URL is enabled. 1,000 means 1,000 or more.
    pub(crate) held: u64,
}

/// Names a URL or an origin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Name {
    /// The URL in full, or as the API shows it. For an origin: scheme, host and port.
    pub(crate) url: String,
    /// Why it is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A URL that was enabled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Enabled {
    /// The URL without its secret parts.
    pub(crate) url: String,
    /// The number of held reports that are sent now.
    pub(crate) reports: u64,
}

/// What was enabled. Several URLs may look the same without their secret parts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AllEnabled {
    pub(crate) enabled: Vec<Enabled>,
}

/// What was disabled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DisabledName {
    /// The URL without its secret parts.
    pub(crate) url: String,
}

/// The state of the server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Health {
    /// `ready`, `draining` or `not_ready`.
    pub(crate) status: String,
    /// Why the server is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Why new requests are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refuses: Option<String>,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    /// The number of waiting requests of each route.
    pub(crate) queued: BTreeMap<String, u64>,
    pub(crate) running: u64,
    /// The number of deliveries that are not over.
    pub(crate) undelivered: u64,
    /// The number of reports that were delivered since the start.
    pub(crate) delivered: u64,
    /// The number of reports that were given up since the start.
    pub(crate) given_up: u64,
    pub(crate) disabled: u64,
    pub(crate) open_circuits: u64,
    /// Routes of waiting requests that this program does not have.
    pub(crate) unknown_routes: Vec<String>,
}

/// The settings that the server uses.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Settings {
    /// The settings file. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The value of each key. Secrets are masked.
    pub(crate) settings: BTreeMap<String, serde_json::Value>,
}

/// What became of settings that were read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Reload {
    /// The keys whose values have changed and are in use now.
    pub(crate) applied: Vec<String>,
    /// The keys whose values have changed, and that need a restart.
    pub(crate) needs_restart: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// A change that an operator made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AuditEntry {
    pub(crate) at: String,
    /// Who made the change: `socket uid N`, `admin token from ADDRESS`, `signal SIGHUP`, or `command line`.
    pub(crate) who: String,
    /// What was done, such as `request.cancel`.
    pub(crate) what: String,
    /// What was changed, such as an id.
    pub(crate) subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

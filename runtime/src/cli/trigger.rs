//! The command `trigger`: sends sample reports to a URL, as the server would send them, to try out a receiver.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::Common;
use super::remote::json;
use super::secret_file;
use crate::app::delivery_options;
use crate::delivery::Trial;
use crate::policy::destination::DestinationPolicy;
use crate::poster::Formats;
use crate::settings::Settings;
use postback_wire::id::{ReportId, RequestId};
use postback_wire::line::{Causes, Escaped};
use postback_wire::report::{About, Format, LAST_SEQUENCE, OfProgress, Report, Status};
use postback_wire::secret::Secret;
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::{Provenance, Shown, Target, Webhook};

/// The addresses of this machine. A person at this machine may send there, unlike a caller.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// The arguments of `trigger`.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Trigger {
    /// The URL of the receiver
    url: String,
    /// Send only this report; may be repeated. `progress` tells how far a run is, and comes before the others
    #[arg(long, value_name = "STATUS")]
    status: Vec<Sample>,
    /// The id that the reports are about; a new one, if left out
    #[arg(long)]
    id: Option<String>,
    /// The result in the report of a completed request
    #[arg(long, value_name = "JSON", value_parser = parsed, default_value = "{\"text\":\"a sample\"}")]
    result: Value,
    /// The form of the reports: cortex, standard, cloudevents, replicate, runpod or fal; that of the settings, if left out
    #[arg(long, value_name = "NAME")]
    format: Option<Format>,
    /// Sign with the secrets in this file, one in a line, instead of those that the settings have for the URL
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Do not sign
    #[arg(long, conflicts_with = "secret_file")]
    unsigned: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

const ABOUT: &str =
    "The reports have the form, the headers, the time limit and the signature that the server's have. They may go where
the server's may go, and besides to this machine. The exit code is 1 if the receiver has not taken all of them.";

/// The sample of a progress.
const PROGRESS: OfProgress<'static> = OfProgress {
    fraction: Some(0.5),
    message: Some("a sample of a progress"),
    detail: None,
    sequence: 1,
    at: Timestamp::from_micros(0),
};

/// A report that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sample {
    /// A report of a run that has not ended; sent only if it is named
    Progress,
    Completed,
    Failed,
    Cancelled,
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

/// What has become of a report.
#[derive(Serialize)]
struct Sent {
    status: &'static str,
    webhook_id: String,
    /// What was sent, as text.
    body: String,
    signed: bool,
    /// Whether the receiver has taken the report.
    delivered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    ms: u64,
    /// The first part of the body of the answer.
    response: String,
}

impl Trigger {
    /// Runs the command. Returns the text to print, and whether the receiver has taken all reports.
    pub(crate) async fn run(&self, settings: &Settings) -> Result<(String, bool), String> {
        let clock = Clock::system();
        let webhook = Webhook::new(&self.url).map_err(|error| Causes(&error).to_string())?;
        // The person at this machine is the operator, and has chosen the URL.
        let webhook = webhook.chosen_by(Some(Provenance::Operator));
        let webhook = self.format.into_iter().fold(webhook, Webhook::format);
        let (format, target) =
            Formats::new(settings.delivery.format, settings.destinations()).decide(Target::from(webhook));
        let webhook = target.into_webhook().map_err(|error| Causes(&error).to_string())?;
        let id: RequestId = match &self.id {
            Some(id) => {
                id.parse().map_err(|error| format!("`{}` cannot be the id of a request: {error}", Escaped(id)))?
            }
            None => RequestId::generate(),
        };
        let mut options = delivery_options(settings, 1);
        options.allow_networks.extend(LOOPBACK.iter().filter_map(|network| network.parse::<ipnet::IpNet>().ok()));
        let secrets = self.secrets()?;
        let of_settings = options.destinations.policy_for(&webhook);
        let secrets = secrets.map_or(of_settings.secrets, Cow::Owned);
        let policy = DestinationPolicy { reach: of_settings.reach, secrets };
        let trial = Trial::new(&options, clock.clone()).map_err(|error| Causes(&error).to_string())?;
        let mut all = Vec::new();
        let samples = self.samples();
        // The report of an end has a number only if reports of a progress come before.
        let sequence = samples.contains(&Sample::Progress).then_some(LAST_SEQUENCE);
        for sample in samples {
            let about = About { id: id.as_str(), sequence, ..About::default() };
            let (status, body) = match self.report(sample, &id)? {
                Some(report) => (report.status(), report.outcome(clock.now()).to_report_in(format, about)),
                None => (Status::Progress, OfProgress { at: clock.now(), ..PROGRESS }.to_report_in(format, about)),
            };
            let status = status.as_str();
            let webhook_id = ReportId::generate();
            let text = String::from_utf8_lossy(&body).into_owned();
            let (attempt, delivered) = trial.send(webhook_id, id.as_str(), body, &webhook, &policy).await;
            all.push(Sent {
                status,
                webhook_id: webhook_id.to_string(),
                body: text,
                signed: !policy.secrets.is_empty(),
                delivered,
                http_status: attempt.status,
                error: attempt.error,
                ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
                response: String::from_utf8_lossy(&attempt.response).into_owned(),
            });
        }
        let is_fine = all.iter().all(|sent| sent.delivered);
        let text = if self.json { json(&all)? } else { shown(&webhook, &all) };
        Ok((text, is_fine))
    }

    /// Returns the secrets of the command line. `None`: those of the settings sign.
    fn secrets(&self) -> Result<Option<Vec<Secret>>, String> {
        if self.unsigned {
            return Ok(Some(Vec::new()));
        }
        let Some(path) = &self.secret_file else { return Ok(None) };
        let secrets = secret_file::lines(path)?
            .into_iter()
            .map(|(text, place)| text.parse::<Secret>().map_err(|error| format!("{place}: {}", Causes(&error))));
        secrets.collect::<Result<Vec<_>, _>>().map(Some)
    }

    fn samples(&self) -> Vec<Sample> {
        let ends = [Sample::Completed, Sample::Failed, Sample::Cancelled];
        if self.status.is_empty() {
            return ends.into();
        }
        [Sample::Progress].into_iter().chain(ends).filter(|sample| self.status.contains(sample)).collect()
    }

    /// Returns the report of an end. `None`: the sample is no end.
    fn report(&self, sample: Sample, id: &RequestId) -> Result<Option<Report>, String> {
        Ok(Some(match sample {
            Sample::Progress => return Ok(None),
            Sample::Completed => Report::completed(id, &self.result).map_err(|error| Causes(&error).to_string())?,
            Sample::Failed => Report::failed(id).error("a sample of a failure"),
            Sample::Cancelled => Report::cancelled(id),
        }))
    }
}

fn shown(webhook: &Webhook, all: &[Sent]) -> String {
    let mut text = String::new();
    for Sent { status, webhook_id, body, signed, delivered, http_status, error, ms, response } in all {
        let signed = if *signed { "signed" } else { "unsigned" };
        let answer = match (http_status, error) {
            (Some(status), Some(error)) => format!("{status}: {error}"),
            (Some(status), None) => status.to_string(),
            (None, error) => error.clone().unwrap_or_else(|| "no answer".to_owned()),
        };
        let end = if *delivered { "delivered" } else { "not delivered" };
        let url = Shown(webhook.url());
        // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
        let _ = writeln!(text, "{status} to {url}  {end}, {} in {ms} ms", Escaped(&answer));
        let _ = writeln!(text, "  webhook-id {webhook_id}  {signed}");
        let _ = writeln!(text, "  sent       {}", Escaped(body));
        if !response.is_empty() {
            let _ = writeln!(text, "  answer     {}", Escaped(response));
        }
    }
    text
}

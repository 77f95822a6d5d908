//! The log lines of a delivery: one for its first attempt, one for its last attempt, and a bounded number for the
//! retries between.

mod retries;

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::retries::{LineDecision, Retries};
use super::shortage::Shortage;
use postback_store::ClaimedReport;
use postback_store::Next;
use postback_wire::id::ReportId;
use postback_wire::line::Causes;
use postback_wire::time::{Spoken, Timestamp};
use postback_wire::webhook::{Shown, Target};

/// The largest number of characters that are logged of a text that comes from outside, for example from a receiver.
const MAX_TEXT: usize = 300;
/// The largest number of origins for which the log remembers that it has explained a refusal. If there are more
/// origins, the log forgets the oldest one.
const MAX_EXPLAINED: usize = 1_024;
/// The log explains the first [`MAX_EXPLAINED`] refusals without a pause. After that, it explains on average at most
/// one further refusal in each pause of this length. So a caller who names more and more origins cannot fill the log. A
/// refusal that was not explained because of this limit is explained the next time.
const EXPLAIN_PAUSE: Duration = Duration::from_secs(1);
/// The shortest time between two log lines about the same shortage of this machine.
const PUT_OFF_PAUSE: Duration = Duration::from_mins(1);

/// Logs a line about an attempt, with the fields that all lines about attempts have.
macro_rules! attempt_event {
    ($level:ident, $entry:ident, $($text:tt)+) => {
        tracing::$level!(
            request_id = %escaped($entry.request_id),
            route = $entry.route,
            attempt = $entry.attempt,
            webhook_id = %$entry.webhook_id,
            http_status = $entry.status,
            outcome = outcome_of($entry.next),
            url = %ShownTarget($entry.to),
            ms = u64::try_from($entry.took.as_millis()).unwrap_or(u64::MAX),
            $($text)+
        )
    };
}

/// The data of a log line about one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptLine<'a> {
    pub(super) webhook_id: ReportId,
    /// The text at the beginning of the log line, which says how the run of the request ended. `None` if an earlier log
    /// line contains this text.
    pub(super) note: Option<&'a str>,
    /// The id of the request or of the work that the report is about.
    pub(super) request_id: &'a str,
    /// The route of the request, if it is known.
    pub(super) route: Option<&'a str>,
    pub(super) to: &'a Target,
    pub(super) attempt: u32,
    /// The number of attempts in the schedule of the report.
    pub(super) attempts: u32,
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) error: Option<&'a str>,
    /// Whether the resolver returned a forbidden address for the host name. If so, `error` names the address.
    pub(super) forbidden_address: bool,
    pub(super) next: Next,
    pub(super) now: Timestamp,
}

/// Writes the log lines of the delivery. Remembers which explanations it has logged, because it does not repeat them.
#[derive(Debug, Default)]
pub(super) struct Log {
    explained: Mutex<Explained>,
    /// For each shortage, the time at which it was last logged.
    put_off: Mutex<Vec<(Shortage, Timestamp)>>,
    /// The origins for which a log line has said that a report is unsigned although its URL is a trusted destination.
    /// At most [`MAX_EXPLAINED`] origins.
    withheld: Mutex<HashSet<String>>,
    retries: Mutex<Retries>,
    /// The number of refused reports so far. This number is logged whenever it is a power of ten.
    refused: AtomicU64,
}

/// The origins for which the log has explained a refusal.
#[derive(Debug, Default)]
struct Explained {
    origins: HashSet<String>,
    /// The origins in the order in which their refusals were explained, the oldest first.
    order: VecDeque<String>,
    /// The number of explained refusals that count towards the limit [`MAX_EXPLAINED`]. The number falls by one in each
    /// [`EXPLAIN_PAUSE`].
    counted: usize,
    since: Option<Timestamp>,
}

impl Explained {
    fn is_to_explain(&mut self, origin: &str, now: Timestamp) -> bool {
        if self.origins.contains(origin) {
            return false;
        }
        let passed = now.since(*self.since.get_or_insert(now));
        if passed >= EXPLAIN_PAUSE {
            let again = usize::try_from(passed.as_secs() / EXPLAIN_PAUSE.as_secs()).unwrap_or(usize::MAX);
            self.counted = self.counted.saturating_sub(again);
            self.since = Some(now);
        }
        if self.counted >= MAX_EXPLAINED {
            return false;
        }
        if self.order.len() >= MAX_EXPLAINED
            && let Some(oldest) = self.order.pop_front()
        {
            self.origins.remove(&oldest);
        }
        self.counted += 1;
        self.origins.insert(origin.to_owned());
        self.order.push_back(origin.to_owned());
        true
    }
}

impl Log {
    pub(super) fn attempt(&self, entry: &AttemptLine<'_>) {
        match entry.next {
            Next::Delivered | Next::DeliveredLast => attempt_event!(info, entry, "{}", message(entry)),
            Next::RetryAt(_) if entry.forbidden_address => self.log_forbidden_address(entry),
            Next::RetryAt(_) if entry.attempt <= 1 => attempt_event!(warn, entry, "{}", message(entry)),
            Next::RetryAt(_) => self.log_retry(entry),
            Next::Gone { .. } => attempt_event!(warn, entry, "{}", message(entry)),
            Next::Dead => attempt_event!(error, entry, "{}", message(entry)),
            Next::Refused => self.log_refused(entry),
        }
    }

    /// Logs that a retry failed. If the first attempt fails, [`Log::attempt`] itself logs this.
    fn log_retry(&self, entry: &AttemptLine<'_>) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let decision = retries.failed(entry.to.origin(), entry.now);
        drop(retries);
        match decision {
            LineDecision::Log { skipped: 0 } => attempt_event!(info, entry, "{}", message(entry)),
            LineDecision::Log { skipped } => {
                let origin = escaped(entry.to.origin());
                attempt_event!(
                    info,
                    entry,
                    "{}; {skipped} more retries to {origin} failed before this one",
                    message(entry)
                );
            }
            LineDecision::Skip => attempt_event!(debug, entry, "{}", message(entry)),
        }
    }

    /// Logs that a report was refused and is not retried. The refusal is explained once per origin. Every refusal is
    /// counted.
    fn log_refused(&self, entry: &AttemptLine<'_>) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_to_explain(entry.to.origin(), entry.now) {
            attempt_event!(warn, entry, "{}", message(entry));
        } else if entry.note.is_some() {
            // The note of this line says how the run of the request ended. So the line is logged, although the refusal
            // was explained before.
            attempt_event!(info, entry, "{} → not delivered: refused, as explained before", beginning(entry));
        } else {
            attempt_event!(debug, entry, "{}", message(entry));
        }
        if refused > 1 && is_power_of_ten(refused) {
            tracing::warn!(
                refused,
                "{refused} reports were refused so far; refused reports are never sent (logged at 10, 100, 1000 and so on)"
            );
        }
    }

    /// Logs that the resolver returned a forbidden address for a host name. The report is retried, because the resolver
    /// may recover. The refusal is explained once per origin, because the cause is the same for all reports to the
    /// origin.
    fn log_forbidden_address(&self, entry: &AttemptLine<'_>) {
        if self.is_to_explain(entry.to.origin(), entry.now) {
            attempt_event!(warn, entry, "{}", message(entry));
        } else if entry.note.is_some() {
            let explained = AttemptLine { error: Some("refused, as explained before"), ..*entry };
            attempt_event!(info, entry, "{}", message(&explained));
        } else {
            attempt_event!(debug, entry, "{}", message(entry));
        }
    }

    /// Logs that the receiver has not processed the request. The limit for log lines about failed retries applies to
    /// these lines too.
    pub(super) fn log_unprocessed(&self, report: &ClaimedReport, why: &str, pause: Duration, now: Timestamp) {
        let decision = self.retries.lock().unwrap_or_else(PoisonError::into_inner).failed(report.to.origin(), now);
        let (request_id, webhook_id, attempt) = (escaped(&report.subject), report.webhook_id, report.attempt);
        let url = ShownTarget(&report.to);
        let message = format!(
            "report of {request_id} → not processed: {why}; attempt {attempt} is repeated in {}",
            spoken(pause)
        );
        match decision {
            LineDecision::Log { .. } => tracing::info!(%request_id, %webhook_id, attempt, %url, "{message}"),
            LineDecision::Skip => tracing::debug!(%request_id, %webhook_id, attempt, %url, "{message}"),
        }
    }

    /// Logs that a webhook is not trusted although its URL is a trusted destination, because the operator did not
    /// choose the webhook. This is logged once per origin.
    pub(super) fn log_withheld(&self, to: &Target) {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if withheld.len() >= MAX_EXPLAINED || withheld.contains(to.origin()) || !withheld.insert(to.origin().to_owned())
        {
            return;
        }
        drop(withheld);
        let url = ShownTarget(to);
        tracing::warn!(
            %url,
            "{url} is a trusted destination, but a caller may have chosen it for this report; so the report is unsigned, and may \
             go to public addresses only. If the program chose the URL, take the webhook from Config, State or a constant, or \
             use Webhook::trusted"
        );
    }

    fn is_to_explain(&self, origin: &str, now: Timestamp) -> bool {
        self.explained.lock().unwrap_or_else(PoisonError::into_inner).is_to_explain(origin, now)
    }

    /// Logs that reports wait because this machine lacks a resource. Each shortage is logged at most once a minute.
    pub(super) fn log_put_off(&self, shortage: Shortage, why: &str, now: Timestamp) {
        let mut logged = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = logged.iter().find(|(of, _)| *of == shortage)
            && now.since(*last) < PUT_OFF_PAUSE
        {
            return;
        }
        logged.retain(|(of, _)| *of != shortage);
        logged.push((shortage, now));
        drop(logged);
        tracing::warn!(
            reason = shortage.as_str(),
            "deliveries wait, and no attempt is used up: {why} (logged once a minute at most)"
        );
    }
}

/// Logs that a URL was disabled. Later reports to this URL are held, and nothing is logged about them.
pub(super) fn log_disabled(to: &Target, why: Option<&str>, trusted: bool) {
    let url = ShownTarget(to);
    let why = why.unwrap_or("its receiver wants no more reports");
    let probes = if trusted { "; one of them is sent once a day as a test" } else { "" };
    tracing::warn!(
        %url,
        "{url} is disabled: {why}; further reports are held{probes}. To enable the URL, run `endpoints enable {url}` or call \
         Poster::enable"
    );
}

/// Logs that a trusted URL stays disabled, because its receiver has answered a probe and still wants no reports.
pub(super) fn log_still_disabled(to: &Target, why: Option<&str>) {
    let url = ShownTarget(to);
    let why = why.unwrap_or("its receiver wants no more reports");
    tracing::warn!(%url, "{url} is still disabled: {why}; its reports are held, and one of them is sent again as a test in a day");
}

pub(super) fn log_enabled(to: &Target, reports: u64) {
    let url = ShownTarget(to);
    tracing::warn!(%url, reports, "{url} takes reports again and is enabled; {reports} held reports are sent now");
}

fn message(entry: &AttemptLine<'_>) -> String {
    let beginning = beginning(entry);
    let error = entry.error.unwrap_or("unknown reason");
    let AttemptLine { attempt, attempts, now, .. } = *entry;
    match entry.next {
        Next::Delivered | Next::DeliveredLast => {
            let retried = if attempt > 1 { format!(", at attempt {attempt} of {attempts}") } else { String::new() };
            format!("{beginning} → delivered {} in {}{retried}", entry.status.unwrap_or_default(), Spoken(entry.took))
        }
        Next::RetryAt(at) => {
            let wait = match at.since(now) {
                Duration::ZERO => "at once".to_owned(),
                wait => format!("in {}", spoken(wait)),
            };
            format!("{beginning} → not delivered: {error}; next attempt {wait} (attempt {attempt} of {attempts})")
        }
        Next::Dead => {
            let plural = if attempt == 1 { "" } else { "s" };
            format!("{beginning} → gave up after {attempt} attempt{plural}: {error} ({})", target_and_ids(entry))
        }
        Next::Gone { .. } => format!("{beginning} → gone: {error} ({})", target_and_ids(entry)),
        Next::Refused => format!("{beginning} → not delivered: refused: {error}"),
    }
}

/// Returns the URL, the route and the `webhook-id` of a delivery that has ended. With these values, the operator finds
/// the report in the receiver's log, and can send the report again with `deliveries replay`.
fn target_and_ids(entry: &AttemptLine<'_>) -> String {
    let route = entry.route.map(|route| format!("route {}, ", escaped(route))).unwrap_or_default();
    format!("to {}, {route}webhook-id {}", ShownTarget(entry.to), entry.webhook_id)
}

fn outcome_of(next: Next) -> &'static str {
    match next {
        Next::Delivered | Next::DeliveredLast => "delivered",
        Next::RetryAt(_) => "retry",
        Next::Dead => "dead",
        Next::Refused => "refused",
        Next::Gone { .. } => "gone",
    }
}

fn is_power_of_ten(number: u64) -> bool {
    number.checked_ilog10().is_some_and(|digits| 10_u64.pow(digits) == number)
}

/// Returns the beginning of a log line. The note and the id are escaped, because a caller may have chosen their text.
fn beginning(entry: &AttemptLine<'_>) -> String {
    match entry.note {
        Some(note) => escaped(note).into_owned(),
        None => format!("report of {}", escaped(entry.request_id)),
    }
}

/// A target whose `Display` leaves out the parts of the URL that may be secret.
struct ShownTarget<'a>(&'a Target);

impl fmt::Display for ShownTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.webhook() {
            Ok(webhook) => Shown(webhook.url()).fmt(f),
            Err(_) => f.write_str("(not a webhook URL)"),
        }
    }
}

/// Returns a duration as text, in the format of settings and log lines. A duration from 1 s up to a minute is shown in
/// whole seconds.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if (1..60).contains(&seconds) { format!("{seconds} s") } else { Spoken(duration).to_string() }
}

/// Returns the text of an error and of all its sources.
pub(super) fn with_sources(error: &(dyn Error + 'static)) -> String {
    escaped(&Causes(error).to_string()).into_owned()
}

/// Returns a text that comes from outside, escaped for a terminal and cut to [`MAX_TEXT`] characters.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == '"' || c == '\'' || c.escape_debug().len() == 1;
    if text.len() <= MAX_TEXT && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT));
    for (at, c) in text.chars().enumerate() {
        match c {
            _ if at == MAX_TEXT => {
                shown.push('…');
                break;
            }
            _ if is_plain(c) => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
pub(super) mod tests;

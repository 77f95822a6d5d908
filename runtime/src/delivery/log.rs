//! What the log says of a delivery: a line at its first try and at its last, and one at each retry, within a bound.

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
use crate::id::ReportId;
use crate::line::Causes;
use crate::policy::after_attempt::Next;
use crate::store::ClaimedReport;
use crate::time::{Spoken, Timestamp};
use crate::webhook::{Shown, Target};

/// What is told of text from outside, at most, in characters.
const MAX_TEXT: usize = 300;
/// Origins of which it is remembered that their refusal was explained, the last ones.
const MAX_EXPLAINED: usize = 1_024;
/// As many refusals may be explained at once, and one more after each of these pauses: who names origins without end
/// makes no lines without end. What is not explained for that is explained when it is refused again.
const EXPLAIN_PAUSE: Duration = Duration::from_secs(1);
/// How often it is told that this machine runs short of something.
const PUT_OFF_PAUSE: Duration = Duration::from_mins(1);

/// A line with the fields that all lines have which speak of a try.
macro_rules! attempt_event {
    ($level:ident, $told:ident, $($text:tt)+) => {
        tracing::$level!(
            request_id = %escaped($told.request_id),
            route = $told.route,
            attempt = $told.attempt,
            webhook_id = %$told.webhook_id,
            http_status = $told.status,
            outcome = word($told.next),
            url = %ShownTarget($told.to),
            ms = u64::try_from($told.took.as_millis()).unwrap_or(u64::MAX),
            $($text)+
        )
    };
}

/// One try, as it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptLine<'a> {
    pub(super) webhook_id: ReportId,
    pub(super) note: Option<&'a str>,
    /// The id that the report speaks of.
    pub(super) request_id: &'a str,
    /// Of the request, where that is known.
    pub(super) route: Option<&'a str>,
    pub(super) to: &'a Target,
    pub(super) attempt: u32,
    /// How many the schedule has.
    pub(super) attempts: u32,
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) error: Option<&'a str>,
    /// Its name led to where it may not go, and the error is that refusal.
    pub(super) forbidden_address: bool,
    pub(super) next: Next,
    pub(super) now: Timestamp,
}

/// Writes the lines, and remembers which refusals it has explained.
#[derive(Debug, Default)]
pub(super) struct Log {
    explained: Mutex<Explained>,
    /// When each shortage was told last.
    put_off: Mutex<Vec<(Shortage, Timestamp)>>,
    /// Origins of which it was told that trust is withheld; as many at most.
    withheld: Mutex<HashSet<String>>,
    retries: Mutex<Retries>,
    /// Refusals that no receiver asks for, to be told at powers of ten.
    refused: AtomicU64,
}

/// Which origins' refusals were explained.
#[derive(Debug, Default)]
struct Explained {
    origins: HashSet<String>,
    /// The longest ago first.
    order: VecDeque<String>,
    /// Those of late, that explaining is bounded by.
    late: usize,
    since: Option<Timestamp>,
}

impl Explained {
    fn is_new(&mut self, origin: &str, now: Timestamp) -> bool {
        if self.origins.contains(origin) {
            return false;
        }
        let passed = now.since(*self.since.get_or_insert(now));
        if passed >= EXPLAIN_PAUSE {
            let again = usize::try_from(passed.as_secs() / EXPLAIN_PAUSE.as_secs()).unwrap_or(usize::MAX);
            self.late = self.late.saturating_sub(again);
            self.since = Some(now);
        }
        if self.late >= MAX_EXPLAINED {
            return false;
        }
        if self.order.len() >= MAX_EXPLAINED
            && let Some(oldest) = self.order.pop_front()
        {
            self.origins.remove(&oldest);
        }
        self.late += 1;
        self.origins.insert(origin.to_owned());
        self.order.push_back(origin.to_owned());
        true
    }
}

impl Log {
    pub(super) fn attempt(&self, told: &AttemptLine<'_>) {
        match told.next {
            Next::Delivered | Next::DeliveredLast => attempt_event!(info, told, "{}", line(told)),
            Next::RetryAt(_) if told.forbidden_address => self.log_forbidden_address(told),
            Next::RetryAt(_) if told.attempt <= 1 => attempt_event!(warn, told, "{}", line(told)),
            Next::RetryAt(_) => self.log_retry(told),
            Next::Gone { .. } => attempt_event!(warn, told, "{}", line(told)),
            Next::Dead => attempt_event!(error, told, "{}", line(told)),
            Next::Refused => self.log_refused(told),
        }
    }

    /// A retry failed. Its first try was a line of its own.
    fn log_retry(&self, told: &AttemptLine<'_>) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let telling = retries.failed(told.to.origin(), told.now);
        drop(retries);
        match telling {
            LineDecision::Now { skipped: 0 } => attempt_event!(info, told, "{}", line(told)),
            LineDecision::Now { skipped } => {
                let origin = escaped(told.to.origin());
                attempt_event!(info, told, "{}; {skipped} more retries to {origin} failed before this one", line(told));
            }
            LineDecision::Later => attempt_event!(debug, told, "{}", line(told)),
        }
    }

    /// A refusal for good: explained once per origin, and counted.
    fn log_refused(&self, told: &AttemptLine<'_>) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_new(told.to.origin(), told.now) {
            attempt_event!(warn, told, "{}", line(told));
        } else if told.note.is_some() {
            // A request that has a line of its own gets it all the same.
            attempt_event!(info, told, "{} → not delivered: refused, as explained before", lead(told));
        } else {
            attempt_event!(debug, told, "{}", line(told));
        }
        if refused > 1 && is_power_of_ten(refused) {
            tracing::warn!(
                refused,
                "{refused} reports were refused by now, each of them for good: they reach nobody (told at powers of ten)"
            );
        }
    }

    /// A refusal that may pass, as resolvers in trouble are believed to recover. It concerns all reports of the origin.
    fn log_forbidden_address(&self, told: &AttemptLine<'_>) {
        if self.is_new(told.to.origin(), told.now) {
            attempt_event!(warn, told, "{}", line(told));
        } else if told.note.is_some() {
            let explained = AttemptLine { error: Some("refused, as explained before"), ..*told };
            attempt_event!(info, told, "{}", line(&explained));
        } else {
            attempt_event!(debug, told, "{}", line(told));
        }
    }

    /// The receiver says that it has processed nothing of the request. Bounded like retries, as it is one.
    pub(super) fn log_unprocessed(&self, report: &ClaimedReport, why: &str, pause: Duration, now: Timestamp) {
        let telling = self.retries.lock().unwrap_or_else(PoisonError::into_inner).failed(report.to.origin(), now);
        let (request_id, webhook_id, attempt) = (escaped(&report.subject), report.webhook_id, report.attempt);
        let url = ShownTarget(&report.to);
        let line = format!(
            "report of {request_id} → not taken: {why}; next try in {}, as attempt {attempt} once more",
            spoken(pause)
        );
        match telling {
            LineDecision::Now { .. } => tracing::info!(%request_id, %webhook_id, attempt, %url, "{line}"),
            LineDecision::Later => tracing::debug!(%request_id, %webhook_id, attempt, %url, "{line}"),
        }
    }

    /// A report goes to a trusted URL that its caller chose, or nobody knows who. AttemptLine once per origin.
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
            "{url} is a trusted destination, but it is not the program that chose it for this report: so the report goes \
             unsigned, and to public addresses only. If it was not the caller either, have the webhook come from Config, State \
             or a constant, or say so with Webhook::trusted"
        );
    }

    fn is_new(&self, origin: &str, now: Timestamp) -> bool {
        self.explained.lock().unwrap_or_else(PoisonError::into_inner).is_new(origin, now)
    }

    /// Reports wait because this machine has too little of something. AttemptLine once a minute.
    pub(super) fn log_put_off(&self, shortage: Shortage, why: &str, now: Timestamp) {
        let mut told = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = told.iter().find(|(of, _)| *of == shortage)
            && now.since(*last) < PUT_OFF_PAUSE
        {
            return;
        }
        told.retain(|(of, _)| *of != shortage);
        told.push((shortage, now));
        drop(told);
        tracing::warn!(
            reason = shortage.as_str(),
            "deliveries are put off, without an attempt being used up: {why} (told once a minute at most)"
        );
    }
}

/// Said once, when the URL is disabled; what is held for it later is not told.
pub(super) fn log_disabled(to: &Target, why: Option<&str>, trusted: bool) {
    let url = ShownTarget(to);
    let why = why.unwrap_or("its receiver wants no more reports");
    let probes = if trusted { "; one of them is tried once a day" } else { "" };
    tracing::warn!(
        %url,
        "{url} is disabled: {why}; further reports are held until it is enabled again{probes}: with `endpoints enable {url}`, \
         or with Poster::enable"
    );
}

/// Said at each probe of a trusted URL.
pub(super) fn log_still_disabled(to: &Target, why: Option<&str>) {
    let url = ShownTarget(to);
    let why = why.unwrap_or("its receiver wants no more reports");
    tracing::warn!(%url, "{url} is still disabled: {why}; its reports are held, and one of them is tried again in a day");
}

pub(super) fn log_enabled(to: &Target, reports: u64) {
    let url = ShownTarget(to);
    tracing::warn!(%url, reports, "{url} takes reports again and is enabled; {reports} were held for it and go out now");
}

fn line(told: &AttemptLine<'_>) -> String {
    let lead = lead(told);
    let error = told.error.unwrap_or("no reason was given");
    let AttemptLine { attempt, attempts, now, .. } = *told;
    match told.next {
        Next::Delivered | Next::DeliveredLast => {
            let retried = if attempt > 1 { format!(", at attempt {attempt} of {attempts}") } else { String::new() };
            format!("{lead} → delivered {} in {}{retried}", told.status.unwrap_or_default(), Spoken(told.took))
        }
        Next::RetryAt(at) => {
            let wait = match at.since(now) {
                Duration::ZERO => "at once".to_owned(),
                wait => format!("in {}", spoken(wait)),
            };
            format!("{lead} → not delivered: {error}; next try {wait} (attempt {attempt} of {attempts})")
        }
        Next::Dead => {
            let plural = if attempt == 1 { "" } else { "s" };
            format!("{lead} → gave up after {attempt} attempt{plural}: {error} ({})", whereabouts(told))
        }
        Next::Gone { .. } => format!("{lead} → gone: {error} ({})", whereabouts(told)),
        Next::Refused => format!("{lead} → not delivered: refused: {error}"),
    }
}

/// What finds a delivery again that is over: in the receiver's own log, and for `deliveries replay`.
fn whereabouts(told: &AttemptLine<'_>) -> String {
    let route = told.route.map(|route| format!("route {}, ", escaped(route))).unwrap_or_default();
    format!("to {}, {route}webhook-id {}", ShownTarget(told.to), told.webhook_id)
}

fn word(next: Next) -> &'static str {
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

/// Both come from outside: a note may hold, and a subject is, what a caller chose as the id.
fn lead(told: &AttemptLine<'_>) -> String {
    match told.note {
        Some(note) => escaped(note).into_owned(),
        None => format!("report of {}", escaped(told.request_id)),
    }
}

/// A target without what may be secret in it.
struct ShownTarget<'a>(&'a Target);

impl fmt::Display for ShownTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.webhook() {
            Ok(webhook) => Shown(webhook.url()).fmt(f),
            Err(_) => f.write_str("(no webhook URL)"),
        }
    }
}

/// A duration as it is said of settings and waits: whole seconds below a minute.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if (1..60).contains(&seconds) { format!("{seconds} s") } else { Spoken(duration).to_string() }
}

/// An error with all that it comes from.
pub(super) fn with_sources(error: &(dyn Error + 'static)) -> String {
    escaped(&Causes(error).to_string()).into_owned()
}

/// Text from outside, harmless on a terminal and bounded.
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

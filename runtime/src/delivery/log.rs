//! What the log says of a delivery: one line at its first try and one at its last.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::shortage::Shortage;
use crate::id::ReportId;
use crate::line::Causes;
use crate::policy::verdict::Next;
use crate::time::{Spoken, Timestamp};
use crate::webhook::{Shown, Target};

/// What is told of text from outside, at most, in characters.
const MAX_TEXT: usize = 300;
/// Endpoints of which it is remembered that their refusal was explained, the last ones.
const MAX_EXPLAINED: usize = 1_024;
/// As many refusals may be explained at once, and one more after each of these pauses: who names endpoints without end makes no
/// lines without end. What is not explained for that is explained when it is refused again.
const EXPLAIN_PAUSE: Duration = Duration::from_secs(1);
/// How often it is told that this machine runs short of something.
const PUT_OFF_PAUSE: Duration = Duration::from_mins(1);

/// One try, as it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) id: ReportId,
    pub(super) note: Option<&'a str>,
    pub(super) subject: &'a str,
    pub(super) to: &'a Target,
    pub(super) attempt: u32,
    /// How many the schedule has.
    pub(super) attempts: u32,
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) error: Option<&'a str>,
    /// Its name led to where it may not go, and the error is that refusal.
    pub(super) misled: bool,
    pub(super) next: Next,
    pub(super) now: Timestamp,
}

/// Writes the lines, and remembers which refusals it has explained.
#[derive(Debug, Default)]
pub(super) struct Log {
    explained: Mutex<Explained>,
    /// When each shortage was told last.
    put_off: Mutex<Vec<(Shortage, Timestamp)>>,
    /// Endpoints of which it was told that trust is withheld; as many at most.
    withheld: Mutex<HashSet<String>>,
}

/// Which endpoints' refusals were explained.
#[derive(Debug, Default)]
struct Explained {
    endpoints: HashSet<String>,
    /// The longest ago first.
    order: VecDeque<String>,
    /// Those of late, that explaining is bounded by.
    late: usize,
    since: Option<Timestamp>,
}

impl Explained {
    fn is_new(&mut self, endpoint: &str, now: Timestamp) -> bool {
        if self.endpoints.contains(endpoint) {
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
            self.endpoints.remove(&oldest);
        }
        self.late += 1;
        self.endpoints.insert(endpoint.to_owned());
        self.order.push_back(endpoint.to_owned());
        true
    }
}

impl Log {
    pub(super) fn tell(&self, told: &Told<'_>) {
        let Told { id, status, .. } = *told;
        let url = Place(told.to);
        let ms = u64::try_from(told.took.as_millis()).unwrap_or(u64::MAX);
        match told.next {
            Next::Delivered | Next::DeliveredLast => tracing::info!(%id, %url, status, ms, "{}", line(told)),
            Next::RetryAt(_) if told.misled => self.tell_misled(told),
            Next::RetryAt(_) if told.attempt <= 1 => tracing::warn!(%id, %url, status, ms, "{}", line(told)),
            Next::RetryAt(_) => tracing::debug!(%id, %url, status, ms, "{}", line(told)),
            Next::Gone { .. } => tracing::warn!(%id, %url, status, ms, "{}", line(told)),
            Next::Dead => tracing::error!(%id, %url, status, ms, "{}", line(told)),
            Next::Refused if self.is_new(told.to.endpoint(), told.now) => tracing::warn!(%id, %url, "{}", line(told)),
            // Explained before. A request that has a line of its own gets it all the same.
            Next::Refused if told.note.is_some() => {
                tracing::info!(%id, %url, "{} → not delivered: refused, as explained before", lead(told));
            }
            Next::Refused => tracing::debug!(%id, %url, "{}", line(told)),
        }
    }

    /// A refusal that may pass, as resolvers in trouble are believed to recover. It concerns all reports of the endpoint.
    fn tell_misled(&self, told: &Told<'_>) {
        let id = told.id;
        let url = Place(told.to);
        if self.is_new(told.to.endpoint(), told.now) {
            tracing::warn!(%id, %url, "{}", line(told));
        } else if told.note.is_some() {
            let explained = Told { error: Some("refused, as explained before"), ..*told };
            tracing::info!(%id, %url, "{}", line(&explained));
        } else {
            tracing::debug!(%id, %url, "{}", line(told));
        }
    }

    /// A report goes to a trusted URL that its caller chose, or nobody knows who. Told once per endpoint.
    pub(super) fn tell_withheld(&self, to: &Target) {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if withheld.len() >= MAX_EXPLAINED
            || withheld.contains(to.endpoint())
            || !withheld.insert(to.endpoint().to_owned())
        {
            return;
        }
        drop(withheld);
        let url = Place(to);
        tracing::warn!(
            %url,
            "{url} is a trusted destination, but it is not the program that chose it for this report: so the report goes \
             unsigned, and to public addresses only. If it was not the caller either, have the webhook come from Config, State \
             or a constant, or say so with Webhook::trusted"
        );
    }

    fn is_new(&self, endpoint: &str, now: Timestamp) -> bool {
        self.explained.lock().unwrap_or_else(PoisonError::into_inner).is_new(endpoint, now)
    }

    /// Reports wait because this machine has too little of something. Told once a minute.
    pub(super) fn tell_put_off(&self, shortage: Shortage, why: &str, now: Timestamp) {
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
            reason = shortage.word(),
            "deliveries are put off, without an attempt being used up: {why} (told once a minute at most)"
        );
    }
}

/// Said once, when the URL is disabled; what is held for it later is not told.
pub(super) fn tell_disabled(to: &Target, why: Option<&str>, trusted: bool) {
    let url = Place(to);
    let why = why.unwrap_or("its receiver wants no more reports");
    let probes = if trusted { "; one of them is tried once a day" } else { "" };
    tracing::warn!(
        %url,
        "{url} is disabled: {why}; further reports are held until it is enabled again{probes}: with `endpoints enable {url}`, \
         or with Poster::enable"
    );
}

/// Said at each probe of a trusted URL.
pub(super) fn tell_still_disabled(to: &Target, why: Option<&str>) {
    let url = Place(to);
    let why = why.unwrap_or("its receiver wants no more reports");
    tracing::warn!(%url, "{url} is still disabled: {why}; its reports are held, and one of them is tried again in a day");
}

pub(super) fn tell_enabled(to: &Target, reports: u64) {
    let url = Place(to);
    tracing::warn!(%url, reports, "{url} takes reports again and is enabled; {reports} were held for it and go out now");
}

fn line(told: &Told<'_>) -> String {
    let lead = lead(told);
    let error = told.error.unwrap_or("no reason was given");
    let Told { attempt, attempts, now, .. } = *told;
    match told.next {
        Next::Delivered | Next::DeliveredLast => {
            format!("{lead} → delivered {} in {}", told.status.unwrap_or_default(), Spoken(told.took))
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
            format!("{lead} → gave up after {attempt} attempt{plural}: {error}")
        }
        Next::Gone { .. } => format!("{lead} → gone: {error}"),
        Next::Refused => format!("{lead} → not delivered: refused: {error}"),
    }
}

/// Both come from outside: a note may hold, and a subject is, what a caller chose as the id.
fn lead(told: &Told<'_>) -> String {
    match told.note {
        Some(note) => escaped(note).into_owned(),
        None => format!("report of {}", escaped(told.subject)),
    }
}

/// A target without what may be secret in it.
struct Place<'a>(&'a Target);

impl fmt::Display for Place<'_> {
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
pub(super) mod tests {
    use std::fmt::Write as _;
    use std::sync::{Arc, LazyLock};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::DefaultGuard;
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    static TARGET: LazyLock<Target> = LazyLock::new(|| Target::parse("https://example.com/in"));

    /// What the delivery says on this thread.
    #[derive(Clone, Default)]
    pub(in crate::delivery) struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

    impl Lines {
        pub(in crate::delivery) fn on_this_thread() -> (Self, DefaultGuard) {
            let lines = Self::default();
            let guard = tracing::subscriber::set_default(lines.clone());
            (lines, guard)
        }

        /// The lines with this text in them.
        pub(in crate::delivery) fn with(&self, text: &str) -> Vec<(Level, String)> {
            self.0.lock().unwrap().iter().filter(|(_, line)| line.contains(text)).cloned().collect()
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("postback::delivery")
        }

        fn event(&self, event: &Event<'_>) {
            struct Message(String);
            impl Visit for Message {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    if field.name() == "message" {
                        write!(self.0, "{value:?}").unwrap();
                    }
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push((*event.metadata().level(), message.0));
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    fn told(next: Next) -> Told<'static> {
        Told {
            id: ReportId::generate(),
            note: None,
            subject: "abc",
            to: &TARGET,
            attempt: 1,
            attempts: 10,
            took: Duration::from_millis(8),
            status: None,
            error: Some("connection refused"),
            misled: false,
            next,
            now: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn the_lines_say_what_became_of_a_report_and_when_the_next_try_is() {
        let delivered = Told { status: Some(204), error: None, ..told(Next::Delivered) };
        assert_eq!(line(&delivered), "report of abc → delivered 204 in 8 ms");
        let noted = Told { note: Some("/greet 0193 completed in 1.2 s"), ..delivered };
        assert_eq!(line(&noted), "/greet 0193 completed in 1.2 s → delivered 204 in 8 ms");
        assert_eq!(
            line(&told(Next::RetryAt(Timestamp::from_micros(5_700_000)))),
            "report of abc → not delivered: connection refused; next try in 5 s (attempt 1 of 10)"
        );
        assert!(line(&told(Next::RetryAt(Timestamp::from_micros(0)))).contains("next try at once"));
        let gone = Told { status: Some(410), error: Some("answered 410 Gone"), ..told(Next::Gone { disable: true }) };
        assert_eq!(line(&gone), "report of abc → gone: answered 410 Gone");
        let last = Told { attempt: 10, ..told(Next::Dead) };
        assert_eq!(line(&last), "report of abc → gave up after 10 attempts: connection refused");
    }

    #[test]
    fn what_comes_from_outside_cannot_write_lines_of_its_own() {
        let evil = Told { subject: "a\n2026 ERROR \u{1b}[31m\u{202e}", ..told(Next::Dead) };
        let line = line(&evil);
        assert!(line.contains(r"a\n2026 ERROR \u{1b}[31m\u{202e}"), "{line}");
        assert_eq!(escaped("it's \"plain\", é ①"), "it's \"plain\", é ①");
        assert_eq!(escaped(&"x".repeat(5_000)).chars().count(), MAX_TEXT + 1);
        assert_eq!(escaped(&"é".repeat(MAX_TEXT)).chars().count(), MAX_TEXT);
    }

    #[test]
    fn a_refusal_is_explained_once_per_endpoint_under_a_bound() {
        let log = Log::default();
        let at = |seconds: usize| Timestamp::from_micros(i64::try_from(seconds).unwrap() * 1_000_000);
        assert!(log.is_new("https://a", at(0)));
        assert!(!log.is_new("https://a", at(0)));
        let explained = (0..2 * MAX_EXPLAINED).filter(|n| log.is_new(&n.to_string(), at(0))).count();
        assert_eq!(explained, MAX_EXPLAINED - 1);
        // However many were explained before, each further one is, in its time; and what is remembered is bounded.
        assert!(!log.is_new("https://b", at(0)));
        for n in 1..2 * MAX_EXPLAINED {
            assert!(log.is_new(&format!("https://b{n}"), at(n)), "{n}");
        }
        let known = log.explained.lock().unwrap();
        assert_eq!((known.endpoints.len(), known.order.len()), (MAX_EXPLAINED, MAX_EXPLAINED));
    }

    #[test]
    fn a_shortage_is_told_once_a_minute() {
        let (lines, _guard) = Lines::on_this_thread();
        let log = Log::default();
        for seconds in 0..90 {
            log.tell_put_off(Shortage::Files, "too many open files", Timestamp::from_micros(seconds * 1_000_000));
        }
        log.tell_put_off(Shortage::Memory, "out of memory", Timestamp::from_micros(90_000_000));
        let told: Vec<_> = lines.with("put off").into_iter().map(|(level, _)| level).collect();
        assert_eq!(told, [Level::WARN; 3]);
    }

    #[test]
    fn a_name_that_leads_astray_is_explained_once_and_a_request_has_its_line_all_the_same() {
        let (lines, _guard) = Lines::on_this_thread();
        let log = Log::default();
        let error = Some("0.0.0.0 is not allowed; see delivery.allow_networks");
        let misled = Told { misled: true, error, ..told(Next::RetryAt(Timestamp::from_micros(5_000_000))) };
        log.tell(&misled);
        log.tell(&misled);
        log.tell(&Told { attempt: 2, ..misled });
        log.tell(&Told { note: Some("/greet 0193 completed in 1.2 s"), ..misled });
        let other = Target::parse("https://other.example/in");
        log.tell(&Told { to: &other, attempt: 2, ..misled });
        let retry =
            "report of abc → not delivered: 0.0.0.0 is not allowed; see delivery.allow_networks; next try in 5 s";
        let noted = "/greet 0193 completed in 1.2 s → not delivered: refused, as explained before; next try in 5 s";
        let attempt = |said: &str, n: u32| format!("{said} (attempt {n} of 10)");
        assert_eq!(
            lines.with(""),
            [
                (Level::WARN, attempt(retry, 1)),
                (Level::DEBUG, attempt(retry, 1)),
                (Level::DEBUG, attempt(retry, 2)),
                (Level::INFO, attempt(noted, 1)),
                (Level::WARN, attempt(retry, 2)),
            ]
        );
        // Whoever is refused for good was told what would allow it.
        log.tell(&Told { next: Next::Refused, ..misled });
        assert_eq!(lines.with("").last().unwrap().0, Level::DEBUG);
    }

    #[test]
    fn waits_are_said_in_whole_seconds() {
        let said = |ms| spoken(Duration::from_millis(ms));
        assert_eq!(said(15_000), "15 s");
        assert_eq!(said(5_900), "5 s");
        assert_eq!(said(250), "250 ms");
        assert_eq!(said(330_000), "5 min 30 s");
    }
}

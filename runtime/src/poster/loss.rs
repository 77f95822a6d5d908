//! Counts lost reports by reason, and logs each cause once. A lost report reaches no receiver.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use postback_wire::line::Escaped;
use postback_wire::names::metric;

/// The reason why a report was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// The webhook's URL is not valid.
    BadUrl,
    /// The result of an annotated function cannot be serialised to JSON.
    Unserializable,
    /// The user's code panicked: the expression `webhook` or `request_id`, or an implementation of `Display` or
    /// `Serialize`.
    Panicked,
    /// The queue of the poster is full.
    QueueFull,
    /// The store could not write the report.
    Store,
    /// An annotated function call has the id of the running request, but an earlier call has already reported the
    /// outcome of this request.
    SecondOutcome,
    /// This process was forked from the process in which the poster runs.
    Forked,
    /// The poster was shut down, or it could not be started.
    NoPoster,
}

impl Loss {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadUrl => "bad_url",
            Self::Unserializable => "unserializable",
            Self::Panicked => "panicked",
            Self::QueueFull => "queue_full",
            Self::Store => "store",
            Self::SecondOutcome => "second_outcome",
            Self::Forked => "forked",
            Self::NoPoster => "no_poster",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::BadUrl => "the URL of its webhook is not valid",
            Self::Unserializable => "the result cannot be serialised to JSON",
            Self::Panicked => "the code that names the webhook or the id, or serialises the result, panicked",
            Self::QueueFull => {
                "too many reports wait already; in a library, keep more with `Poster::builder().memory(…)`, or on disk with \
                 `.sqlite(…)`"
            }
            Self::Store => "the store could not write it",
            Self::SecondOutcome => "the running request has reported its outcome under this id before",
            Self::Forked => {
                "the poster belongs to the process that this one was forked from; install one after the fork"
            }
            Self::NoPoster => {
                "there is no running poster; start one with `Poster::builder()…start()` and keep its guard until the reports are \
                 sent"
            }
        }
    }
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// The hashes of the causes of loss that were already logged. When the set has [`MAX_LOGGED_CAUSES`] entries, new
/// causes are no longer logged.
static LOGGED_CAUSES: Mutex<Option<HashSet<u64>>> = Mutex::new(None);
const MAX_LOGGED_CAUSES: usize = 256;

/// Counts a lost report by the reason of the loss. Logs the cause if it was not logged before.
pub(crate) fn lost(reason: Loss, id: &str, detail: &str) {
    let lost = LOST.fetch_add(1, Ordering::Relaxed) + 1;
    metrics::counter!(metric::REPORTS_LOST, "reason" => reason.as_str()).increment(1);
    if is_new_cause(reason, detail) {
        let explanation = reason.explanation();
        let separator = if detail.is_empty() { "" } else { ": " };
        tracing::warn!(
            request_id = %Escaped(id),
            reason = reason.as_str(),
            "no report of {id} is sent: {explanation}{separator}{detail} (logged once per cause; see {counter})",
            id = Escaped(id),
            detail = Escaped(detail),
            counter = metric::REPORTS_LOST,
        );
    }
    if lost > 1 && is_power_of_ten(lost) {
        tracing::warn!(
            lost,
            reason = reason.as_str(),
            "{lost} reports are lost so far, the last one because {explanation} (logged at 10, 100, 1000 and so on; see {counter})",
            explanation = reason.explanation(),
            counter = metric::REPORTS_LOST,
        );
    }
}

fn is_power_of_ten(number: u64) -> bool {
    number.checked_ilog10().is_some_and(|digits| 10_u64.pow(digits) == number)
}

/// Returns the number of reports that this process has lost so far.
pub(crate) fn lost_so_far() -> u64 {
    LOST.load(Ordering::Relaxed)
}

fn is_new_cause(reason: Loss, detail: &str) -> bool {
    let mut hasher = DefaultHasher::new();
    (reason, detail).hash(&mut hasher);
    let mut explanation = LOGGED_CAUSES.lock().unwrap_or_else(PoisonError::into_inner);
    let explanation = explanation.get_or_insert_default();
    explanation.len() < MAX_LOGGED_CAUSES && explanation.insert(hasher.finish())
}

//! Notes what the program accepted and what arrived at the receiver, and compares both with the program's database.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::Value;

use crate::plan::Answer;
use crate::record::Record;

/// At most this number of ids is printed for each broken promise. Further ids are only counted.
const NAMED: usize = 10;

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    /// The expected result of each accepted request, by id.
    accepted: HashMap<String, String>,
    /// What arrived, by `webhook-id`.
    reports: HashMap<String, Arrivals>,
    /// Requests for which a cancel was sent, so they may end as cancelled. `Some(true)` means that the answer said so.
    cancelled: HashMap<String, Option<bool>>,
    answers: HashMap<Answer, u64>,
    refused: u64,
    unanswered: u64,
    kills: u64,
    wrong: Vec<String>,
}

/// The attempts of one report that arrived.
struct Arrivals {
    subject: String,
    body: Bytes,
    attempts: i64,
    taken: i64,
}

impl Ledger {
    /// The program accepted a request: it answered with this id.
    pub(crate) fn accepted(&self, id: String, result: String) {
        let mut books = self.books();
        if let Some(earlier) = books.accepted.insert(id.clone(), result) {
            books.wrong.push(format!("the id {id} was given twice, first for {earlier}"));
        }
    }

    /// A client is about to send a cancel for this request.
    pub(crate) fn cancelling(&self, id: String) {
        self.books().cancelled.entry(id).or_default();
    }

    /// The program answered a cancel: the request is cancelled (`at_once`), or will be, unless its run ends first.
    pub(crate) fn cancelled(&self, id: String, at_once: bool) {
        self.books().cancelled.insert(id, Some(at_once));
    }

    /// The program refused a request.
    pub(crate) fn refused(&self) {
        self.books().refused += 1;
    }

    /// A client received no complete answer.
    pub(crate) fn unanswered(&self) {
        self.books().unanswered += 1;
    }

    pub(crate) fn killed(&self) {
        self.books().kills += 1;
    }

    /// A complete webhook arrived, and the receiver is about to give this answer.
    pub(crate) fn arrived(&self, webhook_id: &str, body: Bytes, answer: Answer) {
        let mut guard = self.books();
        let books = &mut *guard;
        *books.answers.entry(answer).or_default() += 1;
        let parsed = serde_json::from_slice::<Value>(&body);
        let subject = parsed.ok().and_then(|body| Some(body["id"].as_str()?.to_owned())).unwrap_or_default();
        let first = || Arrivals { subject: subject.clone(), body: body.clone(), attempts: 0, taken: 0 };
        let arrivals = books.reports.entry(webhook_id.to_owned()).or_insert_with(first);
        arrivals.attempts += 1;
        arrivals.taken += i64::from(answer.is_taken());
        if arrivals.body != body || webhook_id.is_empty() || subject.is_empty() {
            let (before, now) = (String::from_utf8_lossy(&arrivals.body), String::from_utf8_lossy(&body));
            books
                .wrong
                .push(format!("webhook-id {webhook_id:?} of {subject:?} came with {before} and then with {now}"));
        }
    }

    /// A sentence for each broken promise, with the ids.
    pub(crate) fn judge(&self, record: &Record) -> Vec<String> {
        let books = self.books();
        let mut broken = books.wrong.clone();
        if books.accepted.is_empty() {
            broken.push("nothing was accepted, so nothing was tested".to_owned());
        }
        let mut of_subject: HashMap<&str, Vec<(&String, &Arrivals)>> = HashMap::new();
        for (webhook_id, arrivals) in &books.reports {
            of_subject.entry(&arrivals.subject).or_default().push((webhook_id, arrivals));
        }
        // A cancelled request may have no report: if it never ran, its webhook URL may be unknown.
        let cancelled = |id: &String| books.cancelled.contains_key(id) && record.is_cancelled(id);
        let (mut lost, mut never_taken, mut several) = (Vec::new(), Vec::new(), Vec::new());
        for id in books.accepted.keys().filter(|id| !cancelled(id)) {
            match of_subject.get(id.as_str()) {
                None => lost.push(id.clone()),
                Some(reports) if reports.iter().all(|(_, arrivals)| arrivals.taken == 0) => {
                    never_taken.push(id.clone())
                }
                Some(_) => {}
            }
        }
        for (subject, reports) in &of_subject {
            if reports.len() > 1 {
                several.push(format!("{subject} ({})", list(reports.iter().map(|(id, _)| id.as_str()))));
            }
        }
        let wrong_result = books.accepted.iter().filter(|(id, result)| {
            let reports = of_subject.get(id.as_str()).into_iter().flatten();
            let status = if cancelled(id) { "cancelled" } else { "completed" };
            reports.clone().any(|(_, arrivals)| !reports_end(&arrivals.body, status, result))
        });
        let not_cancelled =
            books.cancelled.iter().filter(|(id, at_once)| **at_once == Some(true) && !record.is_cancelled(id));
        let wrong_result = wrong_result.map(|(id, _)| id.clone()).collect();
        let unrecorded = record.reports.iter().filter(|report| {
            of_subject
                .get(report.subject.as_str())
                .is_some_and(|of| of.iter().any(|(_, a)| a.attempts > report.attempts))
        });
        let untrue = record.delivered().filter(|report| {
            of_subject.get(report.subject.as_str()).is_none_or(|of| of.iter().all(|(_, a)| a.taken == 0))
        });
        for (what, ids) in [
            ("accepted, and never arrived", lost),
            ("accepted, arrived, and was never taken", never_taken),
            ("reported under several webhook-ids", several),
            ("reported with another outcome than its own", wrong_result),
            ("answered as cancelled, and not cancelled", not_cancelled.map(|(id, _)| id.clone()).collect()),
            (
                "arrived more often than attempts are recorded",
                unrecorded.map(|report| report.subject.clone()).collect(),
            ),
            ("recorded as delivered, and never taken", untrue.map(|report| report.subject.clone()).collect()),
        ] {
            broken.extend(sentence(what, ids));
        }
        broken.extend(record.broken(books.accepted.keys(), cancelled));
        broken
    }

    pub(crate) fn count(&self) -> Count {
        let books = self.books();
        let attempts = books.reports.values().map(|arrivals| arrivals.attempts).sum();
        let taken: i64 = books.reports.values().map(|arrivals| arrivals.taken).sum();
        let once = i64::try_from(books.reports.values().filter(|arrivals| arrivals.taken > 0).count()).unwrap_or(0);
        let mut answers: Vec<_> = books.answers.iter().map(|(answer, n)| (format!("{answer:?}"), *n)).collect();
        answers.sort();
        Count {
            cancelled: books.cancelled.len(),
            cancelled_at_once: books.cancelled.values().filter(|at_once| **at_once == Some(true)).count(),
            kills: books.kills,
            accepted: books.accepted.len(),
            refused: books.refused,
            unanswered: books.unanswered,
            reports: books.reports.len(),
            attempts,
            repeats: taken - once,
            answers,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("no thread panicked while it held the lock")
    }
}

fn reports_end(body: &[u8], status: &str, result: &str) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["status"] == status && (status != "completed" || body["result"] == result)
}

/// A sentence that names these ids. `None` if there are no ids.
pub(crate) fn sentence(what: &str, mut ids: Vec<String>) -> Option<String> {
    ids.sort();
    let n = ids.len();
    (n > 0).then(|| {
        format!("{n} {what}: {}{}", list(ids.iter().map(String::as_str).take(NAMED)), if n > NAMED { " …" } else { "" })
    })
}

fn list<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.collect::<Vec<_>>().join(" ")
}

/// The summary that is printed at the end.
pub(crate) struct Count {
    cancelled: usize,
    cancelled_at_once: usize,
    kills: u64,
    accepted: usize,
    refused: u64,
    unanswered: u64,
    reports: usize,
    attempts: i64,
    repeats: i64,
    answers: Vec<(String, u64)>,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cancelled,
            cancelled_at_once,
            kills,
            accepted,
            refused,
            unanswered,
            reports,
            attempts,
            repeats,
            answers,
        } = self;
        writeln!(f, "{kills} kills; {accepted} accepted, {refused} refused, {unanswered} without a whole answer;")?;
        writeln!(f, "  {cancelled} of them to be cancelled, {cancelled_at_once} were cancelled at once;")?;
        write!(f, "  {reports} reports arrived in {attempts} attempts, {repeats} of them taken again; answers:")?;
        answers.iter().try_for_each(|(answer, n)| write!(f, " {answer} {n}"))
    }
}

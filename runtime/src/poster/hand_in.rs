//! Requests and reports that are committed together with rows of the program.

#[cfg(feature = "server")]
use bytes::Bytes;
#[cfg(feature = "server")]
use http::header::CONTENT_TYPE;
#[cfg(feature = "server")]
use http::{HeaderMap, HeaderValue};
#[cfg(feature = "server")]
use serde::Serialize;

#[cfg(feature = "server")]
use super::PostKind;
use super::{Mode, PostError, Poster, discard, new_reports};
use postback_store::{Store, taking};
use postback_wire::id::ReportId;
use postback_wire::report::Report;
use postback_wire::webhook::IntoWebhook;

/// A request or a report that a transaction of yours commits together with your own rows. If the transaction is rolled
/// back, there is no request and no report.
///
/// [`Poster::prepare`] and [`Poster::prepare_request`] make and check it, which writes nothing. Your transaction, on the
/// database of the store, then executes one statement with two values, with the driver that you use:
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # fn shown(tx: &rusqlite::Transaction<'_>, hand_in: &postback::HandIn) -> rusqlite::Result<()> {
/// if let Some(row) = hand_in.row() {
///     tx.execute(row.sql, (row.id, row.content))?;
/// }
/// # Ok(()) }
/// ```
///
/// The statement adds a row to the table `handed_in` of the store. After the commit, a process of the store takes the
/// row: at once if you call [`committed`](Self::committed), or else within about a second. The guide `transactions` has complete
/// examples.
#[must_use = "it is handed in when your transaction executes the statement of `row`"]
pub struct HandIn {
    id: String,
    /// `None`: there is nothing to hand in.
    made: Option<Made>,
}

struct Made {
    content: Vec<u8>,
    store: Store,
}

/// What a transaction executes to hand something in: a statement and its two values.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct HandInRow<'a> {
    /// The statement. It names its table with the schema, so it does not depend on `search_path`.
    pub sql: &'a str,
    /// The first value, a text.
    pub id: &'a str,
    /// The second value, bytes. They may contain secrets of webhooks.
    pub content: &'a [u8],
}

impl HandIn {
    /// Returns the id under which it is handed in. For a request, this is the id of the request, which your own rows may
    /// keep. For a report, it is the id of its first delivery.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what your transaction executes. `None`: there is nothing to hand in, because reporting is turned off or
    /// the report has no webhook.
    pub fn row(&self) -> Option<HandInRow<'_>> {
        let Made { content, store } = self.made.as_ref()?;
        Some(HandInRow { sql: store.hand_in_statement()?, id: &self.id, content })
    }

    /// Says that your transaction is committed, so that this process looks for it now. Without this call, a process of the
    /// store finds it within about a second. If the poster is stopped right after it, what was handed in is taken at its next
    /// start.
    pub fn committed(&self) {
        if let Some(made) = &self.made {
            made.store.look_for_hand_ins();
        }
    }

    fn of(hand_in: taking::HandIn, store: &Store) -> Self {
        let taking::HandIn { id, content } = hand_in;
        Self { id, made: Some(Made { content, store: store.clone() }) }
    }

    fn nothing() -> Self {
        Self { id: ReportId::generate().to_string(), made: None }
    }
}

/// Prints the id only, because the content may have secrets.
impl std::fmt::Debug for HandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandIn").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Prints the id only, because the content may have secrets.
impl std::fmt::Debug for HandInRow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandInRow").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Poster {
    /// Prepares a report that a transaction of yours hands in. The report is checked as [`post`](Self::post) does it, and
    /// is posted when the transaction is committed.
    ///
    /// # Errors
    ///
    /// Fails if a URL cannot be used, if this process was forked from the poster's process, or if the poster keeps its
    /// reports in memory, which is no part of a transaction.
    pub fn prepare(&self, webhook: &(impl IntoWebhook + ?Sized), report: &Report) -> Result<HandIn, PrepareError> {
        match &self.0 {
            Mode::Active { outbox, .. } => {
                let store = kept(outbox.store())?;
                let reports = new_reports(outbox, webhook, report).map_err(PrepareKind::Report)?;
                let made = taking::HandIn::reports(&reports).map_err(PrepareKind::Content)?;
                Ok(made.map_or_else(HandIn::nothing, |made| HandIn::of(made, store)))
            }
            Mode::Disabled(disabled) => {
                discard(disabled, webhook).map_err(PrepareKind::Report)?;
                Ok(HandIn::nothing())
            }
        }
    }

    /// Prepares a request that a transaction of yours hands in: a payload for a route of the server. It is checked as a
    /// `POST` of this JSON, and is accepted when the transaction is committed. [`HandIn::id`] is the id of the request.
    ///
    /// The request belongs to no token, like those of the command `trigger`.
    ///
    /// # Errors
    ///
    /// Fails if there is no such route, if the payload does not fit the route, if this is not the poster of a server, or if
    /// the server keeps its requests in memory, which is no part of a transaction.
    #[cfg(feature = "server")]
    pub async fn prepare_request(
        &self,
        target: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<HandIn, PrepareError> {
        let body = serde_json::to_vec(payload).map_err(PrepareKind::Payload)?;
        let json = HeaderValue::from_static("application/json");
        self.prepare_request_with(target, HeaderMap::from_iter([(CONTENT_TYPE, json)]), body).await
    }

    /// Prepares a request as [`prepare_request`](Self::prepare_request) does, from the headers and the body of a `POST`.
    /// The target may have a query, such as `/greet?lang=en`. The headers may say when the request runs, as those of a
    /// caller. `idempotency-key` and an id of your own are refused: an earlier
    /// request might take the place of this one.
    ///
    /// # Errors
    ///
    /// Fails for the same reasons as [`prepare_request`](Self::prepare_request), and if a header is wrong.
    #[cfg(feature = "server")]
    pub async fn prepare_request_with(
        &self,
        target: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<HandIn, PrepareError> {
        let Mode::Active { outbox, requests: Some(requests), .. } = &self.0 else {
            return Err(PrepareKind::NoRoutes.into());
        };
        let store = kept(outbox.store())?;
        if outbox.is_forked() {
            return Err(PrepareKind::Report(PostKind::Forked.into()).into());
        }
        let check = requests.check().ok_or(PrepareKind::Early)?;
        let request = check(target.to_owned(), headers, body.into()).await.map_err(PrepareKind::Request)?;
        Ok(HandIn::of(taking::HandIn::request(&request).map_err(PrepareKind::Content)?, store))
    }
}

fn kept(store: &Store) -> Result<&Store, PrepareKind> {
    if store.hand_in_statement().is_some() { Ok(store) } else { Err(PrepareKind::Memory) }
}

/// The error that says why a request or a report could not be prepared.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct PrepareError(#[from] PrepareKind);

postback_wire::line::debug_as_message!(PrepareError);

#[derive(Debug, thiserror::Error)]
enum PrepareKind {
    #[error(
        "the store is in memory, which is no part of a transaction; keep it in a SQLite file or in PostgreSQL, which \
         store.url names in a server"
    )]
    Memory,
    #[error(transparent)]
    Report(PostError),
    #[error("what is handed in cannot be written")]
    Content(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[cfg(feature = "server")]
    #[error("this poster belongs to no server, so it has no routes")]
    NoRoutes,
    #[cfg(feature = "server")]
    #[error("the server has not started yet")]
    Early,
    #[cfg(feature = "server")]
    #[error("{0}")]
    Request(String),
    #[cfg(feature = "server")]
    #[error("the payload cannot be written as JSON")]
    Payload(#[source] serde_json::Error),
}

impl PrepareError {
    /// Whether the store is in memory, which is no part of a transaction.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.0, PrepareKind::Memory)
    }
}

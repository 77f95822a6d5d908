//! Deliveries: lists, single deliveries with their attempts, and replays of one.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use http::Uri;

use super::Admin;
use super::answer::{Answer, Json, Problem};
use super::audit::{self, Actor};
use super::model::{Attempt, Delivery, DeliveryDetail, Page, Replayed};
use super::query::{Parameters, row_cursor};
use super::requests::text;
use postback_store::overview::{DeliveryFilter, DeliveryLine, DeliveryStatus};
use postback_store::{Attempt as StoredAttempt, Replayed as WasReplayed, Store};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::time::Clock;
use postback_wire::webhook::shown;

/// The largest number of deliveries that are shown with one request.
pub(super) const MAX_OF_ONE: usize = 100;

const STATUSES: [(&str, DeliveryStatus); 8] = [
    ("pending", DeliveryStatus::Pending),
    ("parked", DeliveryStatus::Parked),
    ("held", DeliveryStatus::Held),
    ("delivering", DeliveryStatus::Delivering),
    ("delivered", DeliveryStatus::Delivered),
    ("dead", DeliveryStatus::Dead),
    ("refused", DeliveryStatus::Refused),
    ("gone", DeliveryStatus::Gone),
];
/// The names of all states, for error messages.
pub(super) const WANTED_STATUS: &str = "pending, parked, held, delivering, delivered, dead, refused or gone";

pub(super) fn status_name(status: DeliveryStatus) -> &'static str {
    STATUSES.iter().find(|(_, of)| *of == status).map_or("pending", |(name, _)| name)
}

pub(super) fn status(name: &str) -> Option<DeliveryStatus> {
    STATUSES.iter().find(|(of, _)| *of == name).map(|(_, status)| *status)
}

/// Selects the deliveries about a request.
pub(super) fn about(id: &RequestId) -> DeliveryFilter {
    DeliveryFilter { subject: Some(id.to_string()), ..DeliveryFilter::default() }
}

/// Returns the text with which the URLs of a filter begin. `…` stands for what the API does not show, so the filter
/// ends there.
pub(super) fn url_prefix(url: &str) -> String {
    url.split('…').next().unwrap_or_default().trim_end_matches('?').to_owned()
}

/// `GET /deliveries`.
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Page<Delivery>> {
    let _turn = admin.reads.acquire().await;
    page(&admin.store, &admin.clock, &uri).await
}

/// Returns the page of the list for which the query of `uri` asks.
pub(super) async fn page(store: &Store, clock: &Clock, uri: &Uri) -> Answer<Page<Delivery>> {
    let known = ["status", "url", "subject", "since", "until", "cursor", "limit"];
    let parameters = Parameters::of(uri, &known)?;
    let filter = DeliveryFilter {
        status: parameters.parsed("status", WANTED_STATUS, status)?,
        url: parameters.get("url").map(url_prefix),
        subject: parameters.text("subject"),
        since: parameters.time("since", clock)?,
        until: parameters.time("until", clock)?,
    };
    let page = store.list_deliveries(&filter, parameters.row()?, parameters.limit()?).await?;
    Ok(Json(Page { items: page.rows.iter().map(line).collect(), next: page.next.map(row_cursor) }))
}

pub(super) fn line(line: &DeliveryLine) -> Delivery {
    let record = &line.record;
    Delivery {
        id: record.id.to_string(),
        webhook_id: record.webhook_id.to_string(),
        subject: line.subject.clone(),
        url: shown(&record.url),
        status: status_name(line.status).to_owned(),
        created: line.created.to_string(),
        finished: line.finished.map(|time| time.to_string()),
        attempts: record.attempts,
        next_attempt: record.next_due.map(|time| time.to_string()),
        last_attempt: record.last.as_ref().map(|last| attempt(record.attempts, last)),
        refused: record.refused.clone(),
    }
}

fn attempt(number: u32, attempt: &StoredAttempt) -> Attempt {
    Attempt {
        number,
        started: attempt.started.to_string(),
        took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        status: attempt.status,
        error: attempt.error.clone(),
        response: String::from_utf8_lossy(&attempt.response).into_owned(),
    }
}

/// `GET /deliveries/{id}`.
pub(super) async fn show(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Answer<DeliveryDetail> {
    let _turn = admin.reads.acquire().await;
    detail(&admin.store, &id).await
}

/// Returns all that is shown about the delivery with this id.
pub(super) async fn detail(store: &Store, id: &str) -> Answer<DeliveryDetail> {
    let id = parse(id)?;
    let detail = store.delivery_detail(id).await?.ok_or_else(|| unknown(id))?;
    Ok(Json(DeliveryDetail {
        delivery: line(&detail.line),
        body: detail.body.as_ref().map(text),
        history: detail.attempts.iter().map(|(number, of)| attempt(*number, of)).collect(),
    }))
}

/// `POST /deliveries/{id}/replay`.
pub(super) async fn replay(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    Path(id): Path<String>,
) -> Answer<Replayed> {
    let id = parse(&id)?;
    let of_task = Arc::clone(&admin);
    let replayed = admin.change(async move {
        let replayed = of_task.store.replay(id).await?;
        if let WasReplayed::As { delivery, .. } = &replayed {
            audit::record(&of_task.store, &who, "delivery.replay", &id.to_string(), &format!("as {delivery}")).await;
        }
        Ok(replayed)
    });
    match replayed.await? {
        WasReplayed::As { delivery, url } => {
            let held = admin.store.is_disabled(&url);
            Ok(Json(Replayed { id: delivery.to_string(), replay_of: id.to_string(), url: shown(&url), held }))
        }
        WasReplayed::NotOver => Err(Problem::conflict(format!("delivery {id} is not over, so it needs no replay"))),
        WasReplayed::Waiting { delivery } => {
            let detail = format!(
                "{id} will already be sent again, as delivery {delivery}, which is not over: nothing was added"
            );
            Err(Problem::conflict(detail))
        }
        WasReplayed::NoBody => {
            let detail = format!("the body of {id} is no longer stored, so it cannot be sent again");
            Err(Problem::conflict(detail))
        }
        WasReplayed::Unknown => Err(unknown(id)),
    }
}

fn parse(id: &str) -> Result<ReportId, Problem> {
    let unknown =
        || Problem::not_found(format!("`{}` is not the id of a delivery, which is a UUID", id.escape_debug()));
    id.parse().map_err(|_| unknown())
}

fn unknown(id: ReportId) -> Problem {
    Problem::not_found(format!("there is no delivery {id}; deliveries that are over are deleted after store.retention"))
}

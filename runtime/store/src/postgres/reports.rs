//! What several kinds of operations do with the tables of reports.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::postgres::{PgHasArrayType, PgRow, Postgres};
use sqlx::{Encode, Row as _, Type};
use uuid::Uuid;

use super::Batch;
use super::codec::{
    blob, own_from_columns, own_to_columns, report_id, report_state, small, storable, uuid, webhook_id,
};
use super::statement::query;
use crate::ops::Kind;
use crate::record::{ClaimedReport, NewReport, ReportClaim, Settled};
use crate::sql::states::ReportState;
use postback_wire::id::ReportId;
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

/// The values of new reports, one list for each column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    subjects: Vec<String>,
    origins: Vec<String>,
    states: Vec<i64>,
    claims: Vec<i64>,
    created: Vec<i64>,
    finished: Vec<Option<i64>>,
    refused: Vec<Option<String>>,
    urls: Vec<String>,
    headers: Vec<Vec<u8>>,
    secrets: Vec<Option<String>>,
    bodies: Vec<&'a [u8]>,
    by_operator: Vec<bool>,
}

/// Writes the reports that the operations of the batch send, in the order of the operations.
pub(super) async fn write(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let mut outgoing = std::mem::take(&mut batch.outgoing);
    if outgoing.is_empty() {
        return Ok(());
    }
    // The sort is stable, so the reports of one operation keep their order.
    outgoing.sort_by_key(|(at, _)| *at);
    let (node, now) = (batch.start.node, batch.now);
    let mut columns = Columns::default();
    for (_, outgoing) in &outgoing {
        let (report, refused) = (&outgoing.report, outgoing.report.refused.is_some());
        let is_pre_claimed = outgoing.is_pre_claimed() && !refused;
        let state = match (refused, is_pre_claimed) {
            (true, _) => ReportState::Refused,
            (false, true) => ReportState::Delivering,
            (false, false) => ReportState::Pending,
        };
        let own = report.to.webhook().map(|webhook| own_to_columns(webhook.own()));
        let (headers, secret, by_operator) = own.unwrap_or_default();
        columns.ids.push(uuid(report.id));
        columns.subjects.push(storable(&report.subject).into_owned());
        columns.origins.push(storable(report.to.origin()).into_owned());
        columns.states.push(state.code());
        columns.claims.push(i64::from(is_pre_claimed));
        columns.created.push(report.created.micros());
        columns.finished.push(refused.then_some(now.wall.micros()));
        columns.refused.push(report.refused.as_deref().map(|refused| storable(refused).into_owned()));
        columns.urls.push(storable(report.to.url()).into_owned());
        columns.headers.push(headers);
        columns.secrets.push(secret);
        columns.bodies.push(&report.body);
        columns.by_operator.push(by_operator);
    }
    let sql = "WITH i AS (SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], \
                   $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::text[], $12::bytea[], \
                   $13::boolean[]) WITH ORDINALITY AS i (id, subject, origin, state, claims, created, finished, refused, \
                   url, headers, secret, body, by_operator, n)), \
               r AS (INSERT INTO report (id, subject, origin, state, due, epoch, attempt, node, created, finished, refused) \
                   SELECT id, subject, origin, state, $14, claims, claims, CASE claims WHEN 1 THEN $15::bigint END, created, \
                       finished, refused FROM i ORDER BY n RETURNING seq, id) \
               INSERT INTO report_body (seq, url, headers, secret, body, by_operator) \
               SELECT r.seq, i.url, i.headers, i.secret, i.body, i.by_operator FROM r JOIN i ON i.id = r.id";
    let c = columns;
    let insert = query(sql).bind(c.ids).bind(c.subjects).bind(c.origins).bind(c.states).bind(c.claims).bind(c.created);
    let insert = insert.bind(c.finished).bind(c.refused).bind(c.urls).bind(c.headers).bind(c.secrets).bind(c.bodies);
    let insert = insert.bind(c.by_operator).bind(now.due.micros()).bind(node);
    insert.execute(&mut *batch.conn).await.map(drop)
}

/// Makes claimed reports that were not attempted wait again. `row` returns the claim of an operation, and a third value
/// for the statement. The statement receives the ids as `$1`, the epochs as `$2`, the third values as `$3` and the time
/// as `$4`. The statement returns the ids and the new states of the reports whose claims were current. `answer` makes
/// the answer to an operation from the new state. The state is `None` if the claim was stale.
pub(super) async fn put_back<'a, K: Kind + 'a, T>(
    batch: &mut Batch<'a>,
    sql: &'static str,
    row: impl Fn(&'a K) -> (&'a ReportClaim, Option<T>),
    answer: impl Fn(Option<ReportState>) -> K::Answer,
) -> Result<(), sqlx::Error>
where
    T: PgHasArrayType + Type<Postgres> + for<'q> Encode<'q, Postgres>,
{
    let mut by_id: HashMap<ReportId, usize> = HashMap::new();
    let (mut ids, mut epochs, mut thirds) = (Vec::new(), Vec::new(), Vec::new());
    for (at, op) in batch.of::<K>() {
        let (claim, third) = row(op);
        ids.push(uuid(claim.id));
        epochs.push(i64::from(claim.epoch));
        thirds.push(third);
        by_id.insert(claim.id, at);
        batch.answer::<K>(at, answer(None));
    }
    if ids.is_empty() {
        return Ok(());
    }
    let update = query(sql).bind(ids).bind(epochs).bind(thirds).bind(batch.now.due.micros());
    for row in update.fetch_all(&mut *batch.conn).await? {
        if let Some(at) = by_id.get(&report_id(&row, 0)?) {
            let state = report_state(&row, 1)?;
            batch.answer::<K>(*at, answer(Some(state)));
        }
    }
    Ok(())
}

/// Makes the answer to an operation that makes a report wait again. If `state` is `None`, the claim was stale.
pub(super) fn settled(state: Option<ReportState>) -> Settled {
    if state.is_some() { Settled::Current } else { Settled::Stale }
}

/// Makes a statement that claims the first reports for which the condition `$which` is true, and that returns them with
/// their bodies. `$1` is the node, `$3` the largest number of rows, and `$4` the largest number of bytes. The first row
/// alone may have more bytes. `$set` sets further columns.
macro_rules! claim {
    ($which:literal, $set:literal) => {
        sql!(
            "WITH p AS MATERIALIZED (SELECT seq FROM ( \
                 SELECT seq, size, sum(size) OVER (ORDER BY due, seq ROWS UNBOUNDED PRECEDING) AS total FROM ( \
                     SELECT r.due, r.seq, octet_length(b.body) AS size FROM report AS r \
                     JOIN report_body AS b ON b.seq = r.seq WHERE ",
            $which,
            " ORDER BY r.due, r.seq LIMIT $3 FOR UPDATE OF r SKIP LOCKED) AS x) AS y WHERE total <= $4 OR total = size) \
             UPDATE report AS r SET state = {delivering}, epoch = r.epoch + 1, attempt = r.attempt + 1, node = $1",
            $set,
            " FROM p JOIN report_body AS b ON b.seq = p.seq WHERE r.seq = p.seq \
             RETURNING r.due, r.seq, r.id, r.subject, r.epoch, r.attempt, r.created, \
             b.url, b.headers, b.secret, b.body, b.webhook_id, b.by_operator"
        )
    };
}
pub(super) use claim;

/// Reads the rows that a statement of [`claim!`] has returned. Returns the reports in the order of their due times.
pub(super) fn claimed(mut rows: Vec<PgRow>) -> Result<Vec<ClaimedReport>, sqlx::Error> {
    // The rows are sorted here, because `RETURNING` returns them in no particular order.
    rows.sort_by_key(|row| (row.try_get::<i64, _>(0).unwrap_or(0), row.try_get::<i64, _>(1).unwrap_or(0)));
    let one = |row: &PgRow| {
        let id = report_id(row, 2)?;
        let own = own_from_columns(row.try_get(8)?, row.try_get(9)?, row.try_get(12)?);
        let report = NewReport {
            id,
            subject: row.try_get::<&str, _>(3)?.into(),
            to: Target::stored(row.try_get(7)?, own),
            body: blob(row, 10)?,
            created: Timestamp::from_micros(row.try_get(6)?),
            refused: None,
            note: None,
        };
        let claimed = Arc::new(report).claimed(small(row, 4)?, small(row, 5)?);
        Ok(ClaimedReport { webhook_id: webhook_id(row, 11, id)?, ..claimed })
    };
    rows.iter().map(one).collect()
}

//! Reports that are set aside: parked, held, taken up again.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::Batch;
use super::codec::{CLAIM_BYTES, GONE, first_of, json};
use super::reports::{claimed, put_back, report_id};
use super::statement::{query, query_scalar};
use crate::store::clock::Now;
use crate::store::operation::{Enabled, Op, Reply};
use crate::store::parked::{NOT_ENABLED, TOO_OLD};
use crate::store::record;
use crate::time::Timestamp;
use crate::webhook::Target;

pub(super) async fn park(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    // What is parked stands under its line, in the place of its origin.
    let sql = "UPDATE report SET state = -1, node = NULL, attempt = attempt - 1, origin = ifnull(j.line, report.origin) \
               FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch, value ->> 2 AS line FROM json_each(?1)) AS j \
               WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = 1 RETURNING id, state";
    put_back(
        batch,
        sql,
        |op| if let Op::ParkReport { claim, line } = op { Some((claim, line.as_deref())) } else { None },
    )
    .await
}

/// Holds the reports whose URL is disabled; the others are pending again.
pub(super) async fn hold(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    let sql = "UPDATE report SET (held, state) = \
               (SELECT d.seq, iif(d.seq IS NULL, 0, -2) \
                FROM report_body AS b LEFT JOIN disabled AS d ON d.url = b.url WHERE b.seq = report.seq), \
               node = NULL, attempt = attempt - 1 \
               FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch FROM json_each(?1)) AS j \
               WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = 1 RETURNING id, state";
    put_back(batch, sql, |op| if let Op::HoldReport { claim } = op { Some((claim, ())) } else { None }).await
}

/// Disables the URLs of these reports: id in hex, place of the operation, reason.
pub(super) async fn disable(batch: &mut Batch<'_>, reports: &[(String, usize, &str)]) -> Result<(), sqlx::Error> {
    if reports.is_empty() {
        return Ok(());
    }
    let list = json(reports)?;
    let sql = "SELECT j.value ->> 1, b.url FROM json_each(?1) AS j \
               CROSS JOIN report AS r ON r.id = unhex(j.value ->> 0) CROSS JOIN report_body AS b ON b.seq = r.seq";
    for row in query(sql).bind(&list).fetch_all(&mut *batch.conn).await? {
        let at = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
        batch.reply(at, Reply::Disabled(row.try_get(1)?));
    }
    let sql = "INSERT INTO disabled (url, since, reason) SELECT b.url, ?2, j.value ->> 2 \
               FROM json_each(?1) AS j \
               CROSS JOIN report AS r ON r.id = unhex(j.value ->> 0) CROSS JOIN report_body AS b ON b.seq = r.seq \
               WHERE true ON CONFLICT (url) DO NOTHING";
    query(sql).bind(&list).bind(batch.now.wall.micros()).execute(&mut *batch.conn).await.map(drop)
}

pub(super) async fn enable(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::Enable { url, limit, probe } = op else { continue };
        let sql = "UPDATE report SET state = 0, held = NULL, due = ?2 WHERE seq IN \
                   (SELECT seq FROM report WHERE state = -2 AND held = (SELECT seq FROM disabled WHERE url = ?1) \
                    ORDER BY seq LIMIT ?3)";
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        let enable = query(sql).bind(url).bind(batch.now.due.micros()).bind(limit);
        let reports = enable.execute(&mut *batch.conn).await?.rows_affected();
        if *probe {
            batch.reply(
                at,
                Reply::Enabled(Enabled { reports: usize::try_from(reports).unwrap_or(usize::MAX), done: false }),
            );
            continue;
        }
        let sql = "DELETE FROM disabled WHERE url = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM report WHERE state = -2 AND held = disabled.seq)";
        query(sql).bind(url).execute(&mut *batch.conn).await?;
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM disabled WHERE url = ?1)";
        let done = query_scalar(sql).bind(url).fetch_one(&mut *batch.conn).await?;
        let reports = usize::try_from(reports).unwrap_or(usize::MAX);
        batch.reply(at, Reply::Enabled(Enabled { reports, done }));
    }
    Ok(())
}

pub(super) async fn claim(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::ClaimParked { line, limit } = op else { continue };
        let sql = concat!(
            "UPDATE report SET state = 1, epoch = epoch + 1, attempt = attempt + 1, node = ?1, origin = ?6 WHERE seq IN (",
            first_of!(
                "SELECT r.due, r.seq, length(b.body) AS size FROM report AS r CROSS JOIN report_body AS b \
                 WHERE b.seq = r.seq AND r.state = -1 AND r.origin = ?5 AND r.due <= ?2"
            ),
            ") RETURNING due, seq, id, subject, epoch, attempt, created"
        );
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        let claim = query(sql).bind(batch.start.node).bind(batch.now.due.micros()).bind(limit).bind(CLAIM_BYTES);
        let rows = claim.bind(line).bind(Target::parse(line).origin()).fetch_all(&mut *batch.conn).await?;
        let rows = claimed(batch, rows).await?;
        let sql = "SELECT due FROM report WHERE state = -1 AND origin = ?1 ORDER BY due, seq LIMIT 1";
        let next = query_scalar::<i64>(sql).bind(line).fetch_optional(&mut *batch.conn).await?;
        batch.reply(at, Reply::Reports(record::Batch { rows, next_due: next.map(Timestamp::from_micros) }));
    }
    Ok(())
}

/// Ends parked reports that are too old.
pub(super) async fn give_up_parked(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
    for (at, op) in batch.ops.iter().enumerate() {
        let Op::GiveUpParked { before, limit } = op else { continue };
        let sql = "UPDATE report SET state = 3, finished = ?1, refused = ?2 WHERE seq IN \
                   (SELECT seq FROM report WHERE state = -1 AND created < ?3 ORDER BY created, seq LIMIT ?4) RETURNING id";
        let update = query(sql).bind(batch.now.wall.micros()).bind(TOO_OLD).bind(before.micros());
        let update = update.bind(i64::try_from(*limit).unwrap_or(i64::MAX));
        let rows = update.fetch_all(&mut *batch.conn).await?;
        let ended = rows.iter().map(|row| report_id(row.try_get(0)?)).collect::<Result<_, sqlx::Error>>()?;
        batch.reply(at, Reply::GivenUp(ended));
    }
    Ok(())
}

/// Gives up what is held and was due before this moment of the wall clock; how many there were.
pub(super) async fn give_up_held(
    conn: &mut SqliteConnection,
    before: Timestamp,
    limit: usize,
    now: Now,
) -> Result<usize, sqlx::Error> {
    let sql = "UPDATE report SET state = ?1, held = NULL, finished = ?2, refused = ?3 WHERE seq IN \
               (SELECT seq FROM report WHERE state = -2 AND due < ?4 ORDER BY due, seq LIMIT ?5)";
    let update = query(sql).bind(GONE).bind(now.wall.micros()).bind(NOT_ENABLED);
    let update = update.bind(now.due_at(before).micros());
    let given_up = update.bind(i64::try_from(limit).unwrap_or(i64::MAX)).execute(conn).await?.rows_affected();
    Ok(usize::try_from(given_up).unwrap_or(usize::MAX))
}

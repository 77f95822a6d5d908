//! Reads the timeline of a request. One statement reads all of it, so that it shows one moment.

use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgRow};

use super::codec::{limit, misread, small};
use super::statement::query;
use super::{progress, summary};
use crate::summary::{AT_ONCE, Stage};
use crate::timeline::{EarlierRun, RUNS, RunEnd, Timeline};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

pub(super) async fn timeline(pool: &PgPool, id: &RequestId) -> Result<Option<Timeline>, sqlx::Error> {
    // Each earlier run is one list element. The first columns are those of a summary.
    let sql = "SELECT r.route, r.state, r.finished, \
               octet_length(o.result), CASE WHEN octet_length(o.result) <= $2 THEN o.result END, \
               octet_length(o.error), CASE WHEN octet_length(o.error) <= $2 THEN o.error END, o.reason, r.owner, r.extras, \
               r.created, r.started, r.epoch, e.epochs, e.started, e.ended, e.how, e.details, \
               p.epoch, p.sequence, p.fraction, p.message, p.detail, p.at \
               FROM request AS r LEFT JOIN outcome AS o ON o.seq = r.seq \
               LEFT JOIN run_progress AS p ON p.request = r.seq CROSS JOIN LATERAL \
               (SELECT array_agg(epoch ORDER BY epoch) AS epochs, array_agg(started ORDER BY epoch) AS started, \
                array_agg(ended ORDER BY epoch) AS ended, array_agg(how ORDER BY epoch) AS how, \
                array_agg(detail ORDER BY epoch) AS details \
                FROM (SELECT * FROM run WHERE request = r.seq ORDER BY epoch DESC LIMIT $3) AS x) AS e WHERE r.id = $1";
    let row = query(sql).bind(id.as_str()).bind(limit(AT_ONCE)).bind(limit(RUNS)).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let summary = summary::read(&row)?;
    let started = row.try_get::<Option<i64>, _>(11)?.map(Timestamp::from_micros);
    Ok(Some(Timeline {
        created: Timestamp::from_micros(row.try_get(10)?),
        runs: runs(&row)?,
        epoch: small(&row, 12)?,
        progress: progress::read(&row, 18)?,
        started: started.filter(|_| !matches!(summary.stage, Stage::Queued)),
        summary,
    }))
}

/// Reads the earlier runs. The columns are empty (NULL) if there are none.
fn runs(row: &PgRow) -> Result<Vec<EarlierRun>, sqlx::Error> {
    let times = |column| row.try_get::<Option<Vec<i64>>, _>(column).map(Option::unwrap_or_default);
    let (epochs, started, ended) = (times(13)?, times(14)?, times(15)?);
    let how: Vec<String> = row.try_get::<Option<_>, _>(16)?.unwrap_or_default();
    let details: Vec<Option<String>> = row.try_get::<Option<_>, _>(17)?.unwrap_or_default();
    let times = epochs.into_iter().zip(started).zip(ended);
    let mut runs = Vec::with_capacity(how.len());
    for (((epoch, started), ended), (how, detail)) in times.zip(how.into_iter().zip(details)) {
        runs.push(EarlierRun {
            epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
            started: Timestamp::from_micros(started),
            ended: Timestamp::from_micros(ended),
            end: RunEnd::parse(&how).ok_or_else(|| misread("a run has an unknown end"))?,
            detail,
        });
    }
    Ok(runs)
}

//! Holds reports whose URL is disabled; the other reports are pending again.

use super::Apply;
use crate::ops::{HoldReport, Holding};
use crate::sqlite::Batch;
use crate::sqlite::reports::put_back;
use crate::sqlite::states::{ReportState, sql};

impl Apply for HoldReport {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let sql = sql!(
            "UPDATE report SET (held, state) = \
             (SELECT d.seq, iif(d.seq IS NULL, {pending}, {held}) \
              FROM report_body AS b LEFT JOIN disabled AS d ON d.url IN (b.url, report.origin) \
              WHERE b.seq = report.seq), \
             node = NULL, attempt = attempt - 1 \
             FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch FROM json_each(?1)) AS j \
             WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = {delivering} RETURNING id, state"
        );
        let holding = |state| match state {
            None => Holding::Stale,
            Some(ReportState::Held) => Holding::Held,
            Some(_) => Holding::Pending,
        };
        put_back::<Self, _>(batch, sql, |op| (&op.claim, ()), holding)
    }
}

//! Puts back claimed reports that were not attempted.

use super::Apply;
use crate::ops::ReleaseReport;
use crate::sqlite::Batch;
use crate::sqlite::reports::{put_back, settled};
use crate::sqlite::states::sql;
use postback_wire::time::Timestamp;

impl Apply for ReleaseReport {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let sql = sql!(
            "UPDATE report SET state = {pending}, node = NULL, due = ifnull(j.due, ?2), attempt = attempt - 1 \
             FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch, value ->> 2 AS due FROM json_each(?1)) AS j \
             WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = {delivering} RETURNING id, state"
        );
        put_back::<Self, _>(batch, sql, |op| (&op.claim, op.due.map(Timestamp::micros)), settled)
    }
}

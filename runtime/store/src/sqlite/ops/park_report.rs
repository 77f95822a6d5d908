//! Parks reports.

use super::Apply;
use crate::ops::ParkReport;
use crate::sqlite::Batch;
use crate::sqlite::reports::{put_back, settled};
use crate::sqlite::states::sql;

impl Apply for ParkReport {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        // The statement writes the origin or the URL under which the report is parked into the column `origin`.
        let sql = sql!(
            "UPDATE report SET state = {parked}, node = NULL, attempt = attempt - 1, \
             origin = ifnull(j.line, report.origin) \
             FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch, value ->> 2 AS line FROM json_each(?1)) AS j \
             WHERE report.id = j.id AND report.epoch = j.epoch AND report.state = {delivering} RETURNING id, state"
        );
        put_back::<Self, _>(batch, sql, |op| (&op.claim, op.line.as_deref()), settled)
    }
}

//! Sets aside what was handed in and cannot be taken.

use super::Apply;
use crate::ops::SetAside;
use crate::sqlite::Batch;
use crate::sqlite::statement::query;

impl Apply for SetAside {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { id, problem }) in batch.of::<Self>() {
            let sql = "UPDATE handed_in SET problem = ?2 WHERE id = ?1";
            query(sql).bind(id.as_str()).bind(problem.as_str()).execute(batch.conn)?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}

//! Adds the figures of a minute.

use rusqlite::OptionalExtension as _;

use super::Apply;
use crate::ops::AddFigures;
use crate::series::{Figures, Step, begin_of};
use crate::sqlite::Batch;
use crate::sqlite::statement::statement;

impl Apply for AddFigures {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        for (at, Self { minute, rows }) in batch.of::<Self>() {
            let sql = "SELECT figures FROM series WHERE kind = ?1 AND name = ?2 AND step = ?3 AND at = ?4";
            let mut read = statement(batch.conn, sql)?;
            let sql = "INSERT OR REPLACE INTO series (kind, name, step, at, figures) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut write = statement(batch.conn, sql)?;
            for row in &**rows {
                let (kind, name) = row.scope.key();
                for step in Step::ALL {
                    let key = (kind, name, step.minutes(), begin_of(*minute, step.length()).micros());
                    let known = read.query_row(key, |row| row.get::<_, String>(0)).optional()?;
                    let mut figures = known.map(|text| Figures::from_text(&text)).unwrap_or_default();
                    figures.add(&row.figures);
                    write.execute((key.0, key.1, key.2, key.3, figures.to_text()))?;
                }
            }
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}

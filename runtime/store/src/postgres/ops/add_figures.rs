//! Adds the figures of a minute. The rows belong to this node, so no other node changes them.

use std::collections::{BTreeMap, HashMap};

use sqlx::Row as _;

use super::Apply;
use crate::ops::AddFigures;
use crate::postgres::Batch;
use crate::postgres::codec::storable;
use crate::postgres::statement::query;
use crate::series::{Figures, Step, begin_of};

impl Apply for AddFigures {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, Self { minute, rows }) in batch.of::<Self>() {
            // A statement with `ON CONFLICT DO UPDATE` may name each row only once.
            let mut new: BTreeMap<(i64, String, i64, i64), Figures> = BTreeMap::new();
            for row in &**rows {
                let (kind, name) = row.scope.key();
                for step in Step::ALL {
                    let begin = begin_of(*minute, step.length()).micros();
                    let key = (kind, storable(name).into_owned(), i64::from(step.minutes()), begin);
                    new.entry(key).or_default().add(&row.figures);
                }
            }
            let (mut kinds, mut names, mut steps, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (kind, name, step, begin) in new.keys() {
                kinds.push(*kind);
                names.push(name.as_str());
                steps.push(*step);
                times.push(*begin);
            }
            let sql = "SELECT s.kind, s.name, s.step, s.at, s.figures \
                       FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS i (kind, name, step, at) \
                       JOIN series AS s ON s.kind = i.kind AND s.name = i.name AND s.step = i.step AND s.at = i.at \
                       WHERE s.node = $5";
            let read = query(sql).bind(&kinds).bind(&names).bind(&steps).bind(&times).bind(batch.start.node);
            let mut known = HashMap::new();
            for row in read.fetch_all(&mut *batch.conn).await? {
                let key: (i64, String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                known.insert(key, Figures::from_text(row.try_get(4)?));
            }
            let sum = |(key, figures): (&(i64, String, i64, i64), &Figures)| {
                let mut sum = known.remove(key).unwrap_or_default();
                sum.add(figures);
                sum.to_text()
            };
            let figures: Vec<String> = new.iter().map(sum).collect();
            let sql = "INSERT INTO series (kind, name, step, at, node, figures) \
                       SELECT i.kind, i.name, i.step, i.at, $6, i.figures FROM unnest($1::bigint[], $2::text[], \
                       $3::bigint[], $4::bigint[], $5::text[]) AS i (kind, name, step, at, figures) \
                       ON CONFLICT (kind, name, step, at, node) DO UPDATE SET figures = excluded.figures";
            let write = query(sql).bind(&kinds).bind(&names).bind(&steps).bind(&times).bind(figures);
            write.bind(batch.start.node).execute(&mut *batch.conn).await?;
            batch.answer::<Self>(at, ());
        }
        Ok(())
    }
}

//! Stores with running requests where their outcomes are to be reported.

use std::collections::HashMap;

use super::Apply;
use crate::ops::Register;
use crate::record::{Claim, Settled};
use crate::sqlite::Batch;
use crate::sqlite::codec::{json, registration_to_text};
use crate::sqlite::requests::write_registrations;
use crate::sqlite::statement::query;
use crate::sqlite::states::sql;

impl Apply for Register {
    fn apply(batch: &mut Batch<'_>) -> Result<(), rusqlite::Error> {
        let mut registrations = HashMap::new();
        let mut list: Vec<(&str, u32)> = Vec::new();
        for (at, Self { claim: Claim { id, epoch }, registration }) in batch.of::<Self>() {
            list.push((id.as_str(), *epoch));
            registrations.insert(id.as_str(), (at, registration));
            batch.answer::<Self>(at, Settled::Stale);
        }
        if list.is_empty() {
            return Ok(());
        }
        let sql = sql!(
            "SELECT r.seq, r.id \
             FROM (SELECT value ->> 0 AS id, value ->> 1 AS epoch FROM json_each(?1)) AS j \
             CROSS JOIN request r WHERE r.id = j.id AND r.epoch = j.epoch AND r.state = {running}"
        );
        let mut texts = Vec::new();
        for row in query(sql).bind(json(&list)?).fetch_all(batch.conn)? {
            if let Some((at, registration)) = registrations.get(row.try_get::<&str>(1)?) {
                texts.push((row.try_get::<i64>(0)?, registration_to_text(registration)?));
                batch.answer::<Self>(*at, Settled::Current);
            }
        }
        write_registrations(batch.conn, &texts)
    }
}

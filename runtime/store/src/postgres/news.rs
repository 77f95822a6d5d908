//! Reads what other nodes have done.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::codec::{count, request_state, small};
use super::failure::answer;
use super::read::{Rows, waiting_lines};
use super::statement::query;
use crate::nodes::{DisabledNames, Mark, News, NodeRecord, Version, WaitingCounts};
use crate::overview::Cause;
use crate::record::RequestClaim;
use crate::sql::states::{RequestState, sql};
use postback_wire::id::RequestId;
use postback_wire::time::Timestamp;

/// How many nodes that have ended are shown.
const ENDED: i64 = 20;

impl News for Rows {
    fn cancelled(&self) -> BoxFuture<'_, Result<Vec<RequestClaim>, Cause>> {
        answer(self.cancelled_here())
    }

    fn disabled_since(&self, known: Option<Version>) -> BoxFuture<'_, Result<Option<(Version, DisabledNames)>, Cause>> {
        answer(self.changed_disabled(known))
    }

    fn waiting(&self) -> BoxFuture<'_, Result<Option<WaitingCounts>, Cause>> {
        answer(self.waiting_counts())
    }

    fn marks<'a>(&'a self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<(RequestId, Mark)>, Cause>> {
        answer(self.marks_of(ids))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRecord>, Cause>> {
        answer(self.all_nodes())
    }
}

impl Rows {
    async fn cancelled_here(&self) -> Result<Vec<RequestClaim>, sqlx::Error> {
        let sql = sql!("SELECT id, epoch FROM request WHERE state = {running} AND node = $1 AND cancel");
        let rows = query(sql).bind(self.node()).fetch_all(self.pool()).await?;
        rows.iter()
            .map(|row| Ok(RequestClaim { id: RequestId::stored(row.try_get(0)?), epoch: small(row, 1)? }))
            .collect()
    }

    async fn changed_disabled(&self, known: Option<Version>) -> Result<Option<(Version, DisabledNames)>, sqlx::Error> {
        // A new name has a greater number than all before. So no two states of the list have the same count and sum.
        let sql = "SELECT count(*), coalesce(sum(seq), 0)::bigint, count(*) FILTER (WHERE by_operator) FROM disabled";
        let row = query(sql).fetch_one(self.pool()).await?;
        let state = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
        if known == Some(state) {
            return Ok(None);
        }
        let rows = query("SELECT url, by_operator FROM disabled").fetch_all(self.pool()).await?;
        let names = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(Some((state, names.collect::<Result<_, sqlx::Error>>()?)))
    }

    async fn waiting_counts(&self) -> Result<Option<WaitingCounts>, sqlx::Error> {
        let mut counts = WaitingCounts::default();
        for line in waiting_lines(self.pool(), false).await? {
            line.add_to(&mut counts.routes, &mut counts.owners);
        }
        Ok(Some(counts))
    }

    async fn marks_of(&self, ids: &[RequestId]) -> Result<Vec<(RequestId, Mark)>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT r.id, r.state, r.epoch, coalesce((SELECT p.sequence FROM run_progress AS p WHERE p.request = r.seq), 0) \
                   FROM request AS r WHERE r.id = ANY($1)";
        let ids: Vec<&str> = ids.iter().map(RequestId::as_str).collect();
        let one = |row: &PgRow| {
            let state = request_state(row, 1)?;
            let mark = Mark {
                has_ended: state.status().is_some(),
                is_running: state == RequestState::Running,
                epoch: row.try_get(2)?,
                told: row.try_get(3)?,
            };
            Ok((RequestId::stored(row.try_get(0)?), mark))
        };
        query(sql).bind(ids).fetch_all(self.pool()).await?.iter().map(one).collect()
    }

    async fn all_nodes(&self) -> Result<Vec<NodeRecord>, sqlx::Error> {
        let sql = sql!(
            "SELECT n.seq, n.id, n.name, n.version, n.started, n.is_over, \
                 (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - n.seen, \
                 (SELECT count(*) FROM request AS r WHERE r.state = {running} AND r.node = n.seq), \
                 (SELECT count(*) FROM report AS r WHERE r.state = {delivering} AND r.node = n.seq) \
             FROM (SELECT * FROM node WHERE NOT is_over \
                   UNION ALL (SELECT * FROM node WHERE is_over ORDER BY seq DESC LIMIT $1)) AS n ORDER BY n.seq DESC"
        );
        let one = |row: &PgRow| {
            let silent: Option<i64> = row.try_get(6)?;
            Ok(NodeRecord {
                id: row.try_get(1)?,
                name: row.try_get(2)?,
                version: row.try_get(3)?,
                started: Timestamp::from_micros(row.try_get(4)?),
                silent: silent.map(|silent| Duration::from_micros(u64::try_from(silent).unwrap_or(0))),
                is_over: row.try_get(5)?,
                is_this: row.try_get::<i64, _>(0)? == self.node(),
                running: count(row, 7)?,
                delivering: count(row, 8)?,
            })
        };
        query(sql).bind(ENDED).fetch_all(self.pool()).await?.iter().map(one).collect()
    }
}

//! Claims due requests. The routes share the free slots, and the owners of a route share those of the route. Suspects
//! are claimed one by one. A *suspect* is a request that was running when an earlier process ended.

use std::collections::HashSet;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Apply;
use crate::ops::{ClaimRequests, Claimed};
use crate::postgres::Batch;
use crate::postgres::requests::{CRASHES, OWNER, claimed};
use crate::postgres::waiting;
use crate::record::{self, Owner};
use crate::share::{Line, shares};
use crate::sql::waiting::Head;
use postback_wire::time::Timestamp;

impl Apply for ClaimRequests {
    async fn apply(batch: &mut Batch<'_>) -> Result<(), sqlx::Error> {
        for (at, op) in batch.of::<Self>() {
            let heads = due_heads(batch, op).await?;
            let (rows, full) = claim(batch, op, &heads).await?;
            let has_suspect = rows.iter().any(|row| row.try_get::<i64, _>(CRASHES).is_ok_and(|crashes| crashes > 0));
            let rows = claimed(rows)?;
            let suspects = op.suspects && !has_suspect;
            // What waits has changed only if rows were claimed.
            let heads = if rows.is_empty() { heads } else { waiting::heads(batch.conn, &op.routes).await? };
            let next: Vec<_> = heads.iter().map(|head| head.next(suspects).map(Timestamp::from_micros)).collect();
            let next_due = next.iter().zip(full).filter(|(_, full)| !full).filter_map(|(next, _)| *next).min();
            batch.answer::<Self>(at, Claimed { batch: record::Batch { rows, next_due }, next });
        }
        Ok(())
    }
}

/// What a claim has claimed so far.
#[derive(Default)]
struct Rows {
    rows: Vec<PgRow>,
    bytes: i64,
}

impl Rows {
    fn add(&mut self, rows: Vec<PgRow>) -> Result<(), sqlx::Error> {
        self.bytes += waiting::size(&rows)?;
        self.rows.extend(rows);
        Ok(())
    }
}

/// Claims rows, and returns the rows without their bodies. First claims at most one suspect, and then the share of each
/// route. Also returns which routes are full now.
async fn claim(
    batch: &mut Batch<'_>,
    op: &ClaimRequests,
    heads: &[Head],
) -> Result<(Vec<PgRow>, Vec<bool>), sqlx::Error> {
    let now = batch.now.due.micros();
    let line = |(place, (head, route)): (usize, (&Head, &String))| Line {
        running: op.load(place).running,
        free: op.load(place).free,
        turn: batch.turns.of(route),
        due: head.fresh.filter(|due| *due <= now).map(Timestamp::from_micros),
    };
    let mut lines: Vec<Line> = heads.iter().zip(&*op.routes).enumerate().map(line).collect();
    let mut claimed = Rows::default();
    if let Some(place) = suspect(op, heads, &lines, now)
        && let (Some(route), Some(line)) = (op.routes.get(place), lines.get_mut(place))
    {
        claimed.add(waiting::claim_suspect(batch, route).await?)?;
        line.running += claimed.rows.len();
        line.free -= claimed.rows.len();
    }
    while claimed.rows.len() < op.limit {
        let shares = shares(&lines, op.limit - claimed.rows.len());
        if shares.is_empty() {
            break;
        }
        for (place, share) in shares {
            let (Some(line), Some(route), Some(head)) = (lines.get_mut(place), op.routes.get(place), heads.get(place))
            else {
                continue;
            };
            let before = claimed.rows.len();
            let may_have_more = claim_of_route(batch, op, route, head, share, &mut claimed).await?;
            let some = claimed.rows.len() - before;
            if !may_have_more {
                // The route gets no more slots: it has no more due rows, or its rows are too large for this claim.
                // Other routes may use the remaining slots.
                line.due = None;
            }
            line.running += some;
            line.free -= some.min(line.free);
        }
    }
    Ok((claimed.rows, lines.iter().map(|line| line.free == 0).collect()))
}

/// Returns what waits of each route, after the requests that have become due were marked as due.
async fn due_heads(batch: &mut Batch<'_>, op: &ClaimRequests) -> Result<Vec<Head>, sqlx::Error> {
    let now = batch.now.due.micros();
    let heads = waiting::heads(batch.conn, &op.routes).await?;
    let mut woken = false;
    for (head, route) in heads.iter().zip(&*op.routes) {
        if head.later.is_some_and(|due| due <= now) {
            waiting::wake(batch.conn, route, now).await?;
            woken = true;
        }
    }
    if woken { waiting::heads(batch.conn, &op.routes).await } else { Ok(heads) }
}

/// Returns the place of the route whose suspect has been due longest, if the claim may include a suspect.
fn suspect(op: &ClaimRequests, heads: &[Head], lines: &[Line], now: i64) -> Option<usize> {
    let routes = heads.iter().zip(lines).enumerate().filter(|(_, (_, line))| line.free > 0);
    let suspects = routes.filter_map(|(place, (head, _))| Some((head.suspect?, place)));
    let suspect = suspects.filter(|(due, _)| *due <= now).min();
    suspect.filter(|_| op.suspects && op.limit > 0).map(|(_, place)| place)
}

/// Claims up to `share` rows of one route. Returns whether more rows of the route may be claimed.
async fn claim_of_route(
    batch: &mut Batch<'_>,
    op: &ClaimRequests,
    route: &str,
    head: &Head,
    share: usize,
    claimed: &mut Rows,
) -> Result<bool, sqlx::Error> {
    let Some((first, last)) = &head.owners else { return Ok(false) };
    let before = claimed.rows.len();
    if first == last {
        claimed.add(waiting::claim_of(batch, route, first, share, claimed.bytes).await?)?;
        if claimed.rows.len() > before {
            batch.turns.served(route, Some(first.clone()));
        }
        return Ok(claimed.rows.len() - before == share);
    }
    let owners = waiting::owners(batch.conn, route, batch.turns.last_owner(route)).await?;
    let line = |(turn, owner): (usize, &Owner)| Line {
        running: op.busy.of(route, owner),
        free: usize::MAX,
        turn: turn as u64,
        due: Some(batch.now.due),
    };
    let lines: Vec<Line> = owners.iter().enumerate().map(line).collect();
    let shares = shares(&lines, share);
    let mut offered: Vec<&Owner> = shares.iter().filter_map(|(place, _)| owners.get(*place)).collect();
    offered.sort_by_key(|owner| owners.iter().position(|other| other == *owner));
    let mut shares: Vec<(&str, usize)> =
        shares.into_iter().filter_map(|(place, share)| Some((&**owners.get(place)?, share))).collect();
    while let Some(most) = shares.iter().map(|(_, share)| *share).max() {
        // A statement costs more than its rows. So a few owners are served one after the other, and many owners
        // together, one row of each at a time.
        if shares.len() <= most {
            let (owner, share) = shares.remove(0);
            claimed.add(waiting::claim_of(batch, route, owner, share, claimed.bytes).await?)?;
        } else {
            let of: Vec<&str> = shares.iter().map(|(owner, _)| *owner).collect();
            claimed.add(waiting::claim_of_each(batch, route, &of, claimed.bytes).await?)?;
            for (_, share) in &mut shares {
                *share -= 1;
            }
            shares.retain(|(_, share)| *share > 0);
        }
    }
    // Each of the owners had a due row. So if an owner has no row in the claim, its row is too large for this claim, and
    // its turn is the next one.
    let rows = claimed.rows.get(before..).unwrap_or_default();
    let served: HashSet<&str> = rows.iter().map(|row| row.try_get(OWNER)).collect::<Result<_, _>>()?;
    if !served.is_empty() {
        let last = offered.into_iter().take_while(|owner| served.contains(&***owner)).last();
        batch.turns.served(route, last.cloned());
    }
    Ok(!served.is_empty())
}

//! How many deliveries a replay would go through.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use tokio::time::Instant;

use super::{Source, source};
use crate::admin::Admin;
use crate::admin::answer::{Answer, Json, read};
use crate::admin::model::{Count, Selection};

/// The largest number that is counted. Nobody decides otherwise because there are more.
const MOST: u64 = 10_000;
/// The number of rows that are read together.
const AT_ONCE: usize = 500;
/// The longest time that a count takes. A filter that selects few of very many rows may need longer.
const LONGEST: Duration = Duration::from_secs(5);

/// `POST /replays/count`: counts the deliveries that a replay of this selection would go through. It changes nothing.
pub(in crate::admin) async fn count(State(admin): State<Arc<Admin>>, body: Body) -> Answer<Count> {
    let selection: Selection = read(body).await?;
    let filter = match source(&selection, &admin.clock)? {
        Source::Ids(ids) => return Ok(Json(Count { count: ids.len() as u64, more: false })),
        Source::Filter(filter) => filter,
    };
    let end = Instant::now() + LONGEST;
    let (mut count, mut before) = (0, None);
    loop {
        let page = {
            let _turn = admin.reads.acquire().await;
            admin.store.list_deliveries(&filter, before, AT_ONCE).await?
        };
        count += page.rows.len() as u64;
        before = page.next;
        if before.is_none() && count <= MOST {
            return Ok(Json(Count { count, more: false }));
        }
        if before.is_none() || count > MOST || Instant::now() > end {
            return Ok(Json(Count { count: count.min(MOST), more: true }));
        }
    }
}

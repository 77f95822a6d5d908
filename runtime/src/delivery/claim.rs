//! Claims reports that are due: the retries, and whatever found no room in memory when it was posted.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use super::trouble::{Backoff, Trouble};
use crate::shutdown::Shutdown;
use crate::store::{Batch, ClaimedReport, Error, Store};
use crate::time::Clock;

/// The longest sleep between two looks: what a jump of the wall clock, or a lost wake-up, costs at most.
const SLOWEST_POLL: Duration = Duration::from_mins(1);

/// Claims as many as the channel has room for, until told to stop or the store is closed. A claim once begun is awaited:
/// dropped half-way, its rows would stay claimed by nobody.
pub(super) async fn run(store: Store, clock: Clock, claims: mpsc::Sender<ClaimedReport>, shutdown: Shutdown) {
    let trouble = Trouble::new("claiming due reports");
    let mut backoff = Backoff::default();
    loop {
        // Registered before looking: a report that becomes due after the look then wakes us.
        let mut due = pin!(store.reports_due());
        let mut woken = is_ready(due.as_mut()).await;
        if woken {
            due.set(store.reports_due());
            woken = is_ready(due.as_mut()).await;
        }
        let Some(limit) = room(&claims, &shutdown).await else { return };
        let next_due = match store.claim_reports(limit).await {
            Ok(Batch { rows, next_due }) => {
                trouble.over();
                backoff = Backoff::default();
                let full = rows.len() >= limit;
                for report in rows {
                    // Has room: only this function takes any up. Fails only if the delivery was dropped.
                    if claims.send(report).await.is_err() {
                        return;
                    }
                }
                if full || woken {
                    continue;
                }
                next_due
            }
            Err(Error::Closed) => return,
            Err(error) => {
                trouble.met(&error);
                // Deaf to wake-ups meanwhile: a store that fails would be asked at each of them.
                tokio::select! {
                    () = shutdown.stopping() => return,
                    () = tokio::time::sleep(backoff.pause()) => continue,
                }
            }
        };
        let pause = next_due.map_or(SLOWEST_POLL, |at| at.since(clock.now()).min(SLOWEST_POLL));
        tokio::select! {
            () = shutdown.stopping() => return,
            () = due => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Waits until half of the channel is free, and says how much is; `None` when told to stop, or when nobody listens.
/// Half: claimed one by one as slots become free, every report would cost a transaction.
async fn room(claims: &mpsc::Sender<ClaimedReport>, shutdown: &Shutdown) -> Option<usize> {
    tokio::select! {
        biased;
        () = shutdown.stopping() => None,
        half = claims.reserve_many(claims.max_capacity().div_ceil(2)) => half.ok().map(drop),
    }?;
    Some(claims.capacity())
}

async fn is_ready(mut future: Pin<&mut impl Future>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

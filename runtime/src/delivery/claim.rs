//! Claims reports that are due. These are retries, and new reports for which there was no free memory when they were
//! posted.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use super::failure_log::{FailureLog, store_backoff};
use postback_store::shutdown::Shutdown;
use postback_store::{Batch, ClaimedReport, Error, Store};
use postback_wire::time::Clock;

/// The longest pause between two claims. If the wall clock jumps or a wake-up is lost, a report is delayed by at most
/// this time.
const SLOWEST_POLL: Duration = Duration::from_mins(1);

/// Claims as many reports as fit into the channel, until the shutdown begins or the store is closed. The loop waits for
/// the result of every claim, even if the shutdown begins meanwhile. Otherwise the claimed reports would stay claimed
/// and nobody would deliver them.
pub(super) async fn run(store: Store, clock: Clock, claims: mpsc::Sender<ClaimedReport>, shutdown: Shutdown) {
    let failures = FailureLog::new("claiming due reports");
    let mut backoff = store_backoff();
    loop {
        // The loop registers for the wake-up before it claims. So if a report becomes due after the claim, the loop is
        // woken.
        let mut due = pin!(store.reports_due());
        let mut woken = is_ready(due.as_mut()).await;
        if woken {
            due.set(store.reports_due());
            woken = is_ready(due.as_mut()).await;
        }
        let Some(limit) = room(&claims, &shutdown).await else { return };
        let next_due = match store.claim_reports(limit).await {
            Ok(Batch { rows, next_due }) => {
                failures.succeeded();
                backoff.reset();
                let full = rows.len() >= limit;
                for report in rows {
                    // The channel has space: the claim returns no more reports than fit into the channel, and only this
                    // function sends to the channel. Sending fails only if the delivery was dropped.
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
                failures.failed(&error);
                // Wake-ups are ignored during the pause. Otherwise the loop would call the failing store again at each
                // wake-up.
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

/// Waits until half of the channel is free, and returns how many reports fit into the channel. Returns `None` if the
/// shutdown has begun or the channel is closed. Without this wait, the loop would claim as soon as one report fits, so
/// each transaction would claim only one report.
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

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use postback_store::{Attempt, Location, NewReport, Next, Options};
    use postback_wire::id::NodeId;
    use postback_wire::time::Timestamp;
    use postback_wire::webhook::Target;

    const START: Timestamp = Timestamp::from_micros(1_795_420_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    /// A time that is longer than [`SLOWEST_POLL`], the longest pause between two claims. The tests use tokio's paused
    /// clock, so they do not really wait.
    const NEVER: Duration = Duration::from_hours(24);

    /// Returns a clock that follows tokio's time. The wall clock of this clock is behind the real wall clock by
    /// `behind`.
    fn clock(behind: Duration) -> Clock {
        let begun = Instant::now();
        let wall = move || START.saturating_add(begun.elapsed()).saturating_sub(behind);
        Clock::new(wall, move || begun.elapsed())
    }

    async fn store() -> Store {
        let place = Location::Memory { reports: 100, bytes: 1 << 20, kept: 100 };
        Store::open(Options::at(place), NodeId::generate(), clock(Duration::ZERO)).await.unwrap()
    }

    fn report() -> NewReport {
        NewReport::to(Target::parse("https://example.com/in"), "a", "{}".into(), START)
    }

    /// Starts the loop with this clock. Returns when the first claim of the loop has found no report.
    async fn asleep(store: &Store, clock: Clock) -> (mpsc::Receiver<ClaimedReport>, Shutdown) {
        let (claims, claimed) = mpsc::channel(8);
        let shutdown = Shutdown::new();
        shutdown.spawn(run(store.clone(), clock, claims, shutdown.clone()));
        // Paused time advances only when all tasks sleep.
        tokio::time::sleep(SECOND).await;
        assert!(claimed.is_empty());
        (claimed, shutdown)
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_whose_wake_up_is_lost_is_claimed_within_a_minute() {
        let store = store().await;
        // A wake-up of the store wakes only one waiter. This waiter is the first, so the loop does not get the wake-up.
        let mut thief = pin!(store.reports_due());
        assert!(!is_ready(thief.as_mut()).await);
        let begun = Instant::now();
        let (mut claimed, shutdown) = asleep(&store, clock(Duration::ZERO)).await;
        store.post_durably(vec![report()]).await.unwrap();
        assert!(is_ready(thief.as_mut()).await, "the wake-up was not lost");
        let found = timeout(NEVER, claimed.recv()).await.expect("the loop did not claim again");
        assert_eq!(found.unwrap().attempt, 1);
        let took = begun.elapsed();
        assert!(took > SECOND && took <= SLOWEST_POLL + SECOND, "{took:?}");
        shutdown.stop();
        shutdown.finished().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_that_is_not_lost_is_followed_at_once() {
        let store = store().await;
        let (mut claimed, shutdown) = asleep(&store, clock(Duration::ZERO)).await;
        let begun = Instant::now();
        store.post_durably(vec![report()]).await.unwrap();
        timeout(NEVER, claimed.recv()).await.expect("the loop did not claim again").unwrap();
        assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
        shutdown.stop();
        shutdown.finished().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_is_set_back_as_the_pause_is_reckoned_costs_a_minute() {
        let store = store().await;
        store.post_durably(vec![report()]).await.unwrap();
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        let started = clock(Duration::ZERO).now();
        let attempt =
            Attempt { started, took: SECOND, status: Some(500), error: None, response: bytes::Bytes::default() };
        let due = started.saturating_add(30 * SECOND);
        let begun = Instant::now();
        let _ = store.settle_report(row.claim, attempt, Next::RetryAt(due)).await.unwrap();
        store.reports_due().await;
        // The report is due in half a minute. The loop's clock is behind, so for the loop the report is due in more
        // than a day.
        let (mut claimed, shutdown) = asleep(&store, clock(NEVER)).await;
        let found = timeout(2 * NEVER, claimed.recv()).await.expect("the loop did not claim again");
        assert_eq!(found.unwrap().attempt, 2);
        let took = begun.elapsed();
        assert!(took >= 30 * SECOND && took <= SLOWEST_POLL + SECOND, "{took:?}");
        shutdown.stop();
        shutdown.finished().await;
    }
}

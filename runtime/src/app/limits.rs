//! The methods of [`App`] that limit what the requests of a route may use.

use std::time::Duration;

use super::App;

/// Limits of the last route that was added. A value in the operator's settings (`[route."/path"]`) wins over the value
/// that the program sets here. If a value is out of its range, the app does not start, and the error names the route.
///
/// ```
/// # use std::time::Duration;
/// # use postback::App;
/// # async fn render() -> Result<(), String> { Ok(()) }
/// # fn app() -> App<()> {
/// App::new(())
///     .route("/render", render)
///     .concurrency(2)
///     .timeout(Duration::from_mins(10))
///     .max_attempts(3)
///     .backoff(Duration::from_secs(5), Duration::from_mins(5))
///     .max_queued(1_000)
/// # }
/// ```
impl<S: Send + Sync + 'static> App<S> {
    /// Sets how many requests of the last route may run at the same time on one server: from 1 to 65,536. Further
    /// requests of this route wait in the store, and other routes go on. `worker.concurrency` still limits all routes
    /// together.
    #[track_caller]
    pub fn concurrency(self, runs: usize) -> Self {
        self.of_last_route("concurrency", |route| route.limit(|limits| limits.concurrency = Some(runs)))
    }

    /// Sets the longest time of one run of the last route, in place of `worker.timeout`. It is from 1 ms to 30 days.
    #[track_caller]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.of_last_route("timeout", |route| route.limit(|limits| limits.timeout = Some(timeout)))
    }

    /// Sets how many runs of one request of the last route may end in an error, a panic or a timeout, in place of
    /// `worker.max_attempts`. It is from 1 to 1,000. Only the last failure is reported.
    #[track_caller]
    pub fn max_attempts(self, runs: u32) -> Self {
        self.of_last_route("max_attempts", |route| route.limit(|limits| limits.max_attempts = Some(runs)))
    }

    /// Sets the pauses between the runs of a failed request of the last route, in place of `worker.retry_delay` and
    /// `worker.max_retry_delay`. The first pause is `first`. It doubles after each further failed run, up to `longest`.
    /// Both are at most 7 days.
    #[track_caller]
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        self.of_last_route("backoff", |route| {
            route.limit(|limits| (limits.retry_delay, limits.max_retry_delay) = (Some(first), Some(longest)));
        })
    }

    /// Sets how many requests of the last route may wait to be run. Further requests of this route are answered with
    /// 503. `worker.max_queued` still limits all routes together.
    #[track_caller]
    pub fn max_queued(self, requests: u64) -> Self {
        self.of_last_route("max_queued", |route| route.limit(|limits| limits.max_queued = Some(requests)))
    }

    /// Sets how many bytes the headers and bodies of the waiting requests of the last route may have together. A single
    /// request may have more if no other request of the route waits.
    #[track_caller]
    pub fn max_queued_bytes(self, bytes: u64) -> Self {
        self.of_last_route("max_queued_bytes", |route| route.limit(|limits| limits.max_queued_bytes = Some(bytes)))
    }

    /// Sets how long finished requests of the last route are kept, in place of `store.retention`. It is from 1 s to 10
    /// years.
    #[track_caller]
    pub fn retention(self, retention: Duration) -> Self {
        self.of_last_route("retention", |route| route.limit(|limits| limits.retention = Some(retention)))
    }

    /// Sets the priority of the requests of the last route whose callers choose none: from -100 to 100. It is 0 if you
    /// do not set it. Of the requests of one caller on one route, those with the highest priority run first.
    #[track_caller]
    pub fn priority(self, priority: i8) -> Self {
        self.of_last_route("priority", |route| route.limit(|limits| limits.priority = Some(priority)))
    }

    /// Lets callers choose the priority of their requests of the last route, with the header `Postback-Priority`.
    #[track_caller]
    pub fn allow_priority(self) -> Self {
        self.of_last_route("allow_priority", |route| route.limit(|limits| limits.allow_priority = Some(true)))
    }
}

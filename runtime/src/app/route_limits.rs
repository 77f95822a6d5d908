//! Puts the limits of the routes into the parts that hold to them: the store, the worker, and the retention.

use std::time::Duration;

use crate::handler::Routes;
use postback_store::retention::Retention;
use postback_store::{RouteRoom, Store};

/// Applies the limits that the routes have now. `rooms` are those of the worker, by route. The limits of time, of runs,
/// of retention and of priorities need not be applied, because they are read from the route when they are needed.
pub(crate) fn apply(routes: &Routes, store: &Store, rooms: &[(String, RouteRoom)]) {
    let queued = routes.iter().filter_map(|route| {
        let limits = route.limits();
        let (rows, bytes) = (limits.max_queued, limits.max_queued_bytes);
        let is_limited = rows.is_some() || bytes.is_some();
        is_limited.then(|| (route.path.clone(), rows.unwrap_or(u64::MAX), bytes.unwrap_or(u64::MAX)))
    });
    store.limit_routes(queued);
    for (path, room) in rooms {
        room.set_most(routes.get(path).and_then(|route| route.limits().concurrency));
    }
}

/// Returns how long ended requests are kept now. `of_all` is the time of the routes without one of their own.
pub(crate) fn retention(routes: &Routes, of_all: Duration) -> Retention {
    let of_routes = routes.iter().filter_map(|route| Some((route.path.clone(), route.limits().retention?)));
    Retention { of_all, of_routes: of_routes.collect() }
}

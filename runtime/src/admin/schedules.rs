//! The schedules of the program.

use std::sync::Arc;

use axum::extract::State;

use super::Admin;
use super::answer::{Answer, Json};
use super::model::{Page, Schedule};
use crate::handler::{Route, ShownSchedule};

/// `GET /schedules`. The list is no longer than that of the routes, so it has one page.
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer<Page<Schedule>> {
    let (ticks, now) = (admin.store.ticks().await?, admin.clock.now());
    let one = |route: &Arc<Route>| {
        let shown = route.shown_schedule(now, ticks.get(&route.path).copied())?;
        let ShownSchedule { line, zone, missed, next, last } = shown;
        let (time_zone, missed) = (zone.to_owned(), missed.to_owned());
        Some(Schedule { route: route.path.clone(), cron: line, time_zone, missed, last, next })
    };
    Ok(Json(Page { items: admin.routes.iter().filter_map(one).collect(), next: None }))
}

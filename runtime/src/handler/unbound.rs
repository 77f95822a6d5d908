//! A route as the program has declared it, before it is bound to the app's settings.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;

use super::limits::Limits;
use super::{Bound, Described, Handler, Place, RetryIf, Shared, named};
#[cfg(feature = "cron")]
use crate::policy::cron::{CronSchedule, Missed};
use postback_wire::webhook::Webhooks;

/// A route as the program has declared it. Mistakes in the route are reported when all routes are bound to the app's
/// settings.
pub(crate) struct Unbound<S> {
    pub(super) path: String,
    pub(super) name: Cow<'static, str>,
    pub(super) place: Place,
    pub(super) webhook: Webhooks,
    pub(super) caller_webhook: bool,
    pub(super) example: Option<String>,
    pub(super) describe: Option<fn() -> Described>,
    pub(super) retry_if: Option<OfError>,
    #[cfg(feature = "cron")]
    pub(super) schedule: Option<CronSchedule>,
    pub(super) limits: Limits,
    pub(super) bind: Box<dyn FnOnce(Arc<Shared<S>>) -> Bound + Send>,
}

/// A condition on the error of a handler, with the type that it takes.
pub(super) struct OfError {
    pub(super) takes: (TypeId, &'static str),
    pub(super) retry_if: RetryIf,
}

impl<S: 'static> Unbound<S> {
    pub(crate) fn new<A, H: Handler<A, S>>(path: String, handler: H, location: &'static Location<'static>) -> Self {
        let name = std::any::type_name::<H>();
        Self::bound(path, name.into(), Place::Code(location), |shared| handler.bind(shared))
    }

    /// Makes a route whose handler is bound by the function `bind`.
    pub(crate) fn bound(
        path: String,
        name: Cow<'static, str>,
        place: Place,
        bind: impl FnOnce(Arc<Shared<S>>) -> Bound + Send + 'static,
    ) -> Self {
        let (webhook, limits, bind) = (Webhooks::default(), Limits::default(), Box::new(bind));
        let (caller_webhook, example, describe, retry_if) = (false, None, None, None);
        Self {
            path,
            name,
            place,
            webhook,
            caller_webhook,
            example,
            describe,
            retry_if,
            #[cfg(feature = "cron")]
            schedule: None,
            limits,
            bind,
        }
    }

    /// Changes the limits that the program sets for the route.
    pub(crate) fn limit(&mut self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.limits);
    }

    /// Sets the webhook that gets the report of a request if the handler has named no webhook.
    pub(crate) fn set_webhook(&mut self, webhook: Webhooks) {
        self.webhook = webhook;
    }

    /// Allows callers to bring a webhook of their own.
    pub(crate) fn allow_caller_webhook(&mut self) {
        self.caller_webhook = true;
    }

    /// Sets the payload of the example request that the server prints when it starts.
    pub(crate) fn set_example(&mut self, payload: String) {
        self.example = Some(payload);
    }

    /// Sets after which errors of the handler a request runs again.
    pub(crate) fn set_retry_if<E: 'static>(&mut self, retry_if: impl Fn(&E) -> bool + Send + Sync + 'static) {
        // The type of the error is compared when the route is bound.
        let retry_if = Arc::new(move |error: &dyn Any| error.downcast_ref().is_none_or(&retry_if));
        self.retry_if = Some(OfError { takes: named::<E>(), retry_if });
    }

    /// Sets the schedule that makes requests of the route.
    #[cfg(feature = "cron")]
    pub(crate) fn set_schedule(&mut self, schedule: CronSchedule) {
        self.schedule = Some(schedule);
    }

    /// Whether a schedule makes the requests of the route. The schedule itself may be wrong.
    #[cfg(feature = "cron")]
    pub(crate) fn is_cron(&self) -> bool {
        self.path.starts_with("/cron/")
    }

    /// Sets what follows if the schedule was due while no server ran. If the schedule itself is wrong, that mistake is
    /// told already.
    #[cfg(feature = "cron")]
    pub(crate) fn set_missed(&mut self, missed: Missed) {
        if let Some(schedule) = &mut self.schedule {
            schedule.missed = missed;
        }
    }

    /// Sets the function that describes the types of payload and result.
    #[cfg(feature = "schemars")]
    pub(crate) fn set_schema(&mut self, describe: fn() -> Described) {
        self.describe = Some(describe);
    }
}

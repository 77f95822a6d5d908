//! Routes: which path leads to which handler. All routes are checked together when the app starts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::HeaderMap;

use super::attribute::{self, Announcement, Asked, Reads};
use super::limits::Limits;
use super::unbound::{OfError, Unbound};
use super::{
    Bound, Described, Needs, PayloadError, PayloadKind, Place, QueryCheck, RetryIf, Run, Running, Shared, query,
};
#[cfg(feature = "cron")]
use crate::policy::cron::CronSchedule;
use crate::poster::{Formats, Registered};
use crate::results::{self, Results};
use postback_store::Registration;
use postback_wire::webhook::Webhooks;

/// The first segments that the path of a route must not have, because the server uses or reserves paths with these
/// segments.
const RESERVED: [&str; 6] = ["healthz", "readyz", "metrics", "openapi.json", ".well-known", "_postback"];

/// A route whose handler has the app's settings and states, so that the handler can run.
pub(crate) struct Route {
    pub(crate) path: String,
    /// The handler's path in the program, such as `quickstart::greet`, or the target of a forwarded route.
    pub(crate) name: Cow<'static, str>,
    pub(crate) place: Place,
    pub(crate) webhook: Webhooks,
    /// Whether a caller may bring a webhook of its own, in the header `postback-webhook`.
    pub(crate) caller_webhook: bool,
    /// The facts about the handler that its attribute `#[async_handler]` has announced. `None` if the handler does not
    /// have this attribute.
    pub(crate) attribute: Option<&'static Announcement>,
    pub(crate) payload: Option<PayloadKind>,
    queries: Vec<QueryCheck>,
    /// Whether the handler may name webhooks itself, with the attribute.
    pub(crate) names_webhooks: bool,
    pub(crate) needs: Needs,
    pub(crate) example: Option<String>,
    /// The schemas of payload and result. `None` if the program does not describe them.
    pub(crate) described: Option<Described>,
    /// After which errors of the handler a request runs again. `None`: after all.
    pub(crate) retry_if: Option<RetryIf>,
    /// The schedule that makes requests of the route.
    #[cfg(feature = "cron")]
    pub(crate) schedule: Option<Arc<CronSchedule>>,
    /// The limits that the program sets for the route.
    of_program: Limits,
    /// The limits that apply: those of the operator's settings, and those of the program where the settings have none.
    limits: RwLock<Limits>,
    run: Box<dyn Fn(Run) -> Running + Send + Sync>,
    /// What the handler has said when it was asked, if it always says the same.
    constant: OnceLock<Arc<Registration>>,
}

impl Route {
    /// Returns the limits that apply to the route now.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the handler reads the query of the call. If not, the query is not kept.
    pub(crate) fn takes_query(&self) -> bool {
        !self.queries.is_empty()
    }

    /// Checks whether the handler can read the query that is kept with these headers.
    pub(crate) fn check_query(&self, headers: &HeaderMap) -> Result<(), PayloadError> {
        self.queries.iter().try_for_each(|check| check(query::of(headers)))
    }

    pub(crate) fn run(&self, run: Run) -> Running {
        (self.run)(run)
    }

    /// Asks the handler for the webhooks of this request before the server stores the request. Returns `None` if the
    /// handler cannot be asked, or if the attribute's expressions may have effects when they are evaluated.
    ///
    /// Asking takes time, because the handler reads its payload first.
    pub(crate) fn ask(&self, run: &Run) -> Option<Asked> {
        let attribute = self.attribute.filter(|attribute| attribute.reads != Reads::Impure)?;
        let asked = self.asked(run)?;
        // A field of the app's settings or states does not change while the program runs.
        if attribute.reads == Reads::Plain && asked.is_operator && asked.is_requests {
            self.constant.get_or_init(|| Arc::new(asked.registered.stored()));
        }
        Some(asked)
    }

    /// Returns the webhooks of every request of this route, if the handler has been asked for them and says the same
    /// for all requests.
    pub(crate) fn constant_registration(&self) -> Option<&Arc<Registration>> {
        self.constant.get()
    }

    /// Asks the handler for the webhooks of a request that will not run, or will not run again. Returns `None` if the
    /// handler cannot be asked.
    ///
    /// The evaluation of the attribute's expressions may have side effects. These side effects are allowed here,
    /// because a run of the request would have the same side effects.
    pub(crate) fn ask_instead(&self, run: &Run) -> Option<Registered> {
        self.asked(run).filter(|asked| asked.is_requests).map(|asked| asked.registered)
    }

    fn asked(&self, run: &Run) -> Option<Asked> {
        self.attribute.filter(|attribute| attribute.can_be_asked())?;
        attribute::ask(&run.id, self.run(run.clone()))
    }
}

/// All routes of an app, by path, and the forms of their reports.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    by_path: Arc<BTreeMap<String, Arc<Route>>>,
    formats: Formats,
    results: Arc<OnceLock<Arc<Results>>>,
}

impl Routes {
    /// Binds the routes to the app's settings and states. If any routes have mistakes, returns all the mistakes
    /// together.
    pub(crate) fn bind<S: 'static>(unbound: Vec<Unbound<S>>, shared: &Arc<Shared<S>>) -> Result<Self, Vec<RouteError>> {
        let mut errors = Vec::new();
        let mut routes = BTreeMap::<String, Arc<Route>>::new();
        for unbound in unbound {
            #[cfg(feature = "cron")]
            let schedule = unbound.schedule.map(Arc::new);
            let Unbound {
                path, name, place, webhook, caller_webhook, example, describe, retry_if, limits, bind, ..
            } = unbound;
            let mut refuse = |problem| errors.push(RouteError { path: path.clone(), place: place.clone(), problem });
            if let Err(problem) = check(&path) {
                refuse(problem);
                continue;
            }
            if let Some(other) = routes.values().find(|other| clash(&other.path, &path)) {
                let problem = if other.path == path {
                    format!("this path has a route already, at {}", other.place)
                } else {
                    format!(
                        "it clashes with {}, at {}: after a route's path comes the id of a request",
                        other.path, other.place
                    )
                };
                refuse(problem);
                continue;
            }
            let Bound { run, payload, queries, needs, names_webhooks, error, faults } = bind(Arc::clone(shared));
            faults.into_iter().chain(limits.mistakes()).for_each(&mut refuse);
            if let Some(OfError { takes, .. }) = retry_if.as_ref().filter(|condition| condition.takes.0 != error.0) {
                refuse(format!(
                    "`retry_if` takes an error of type {}, but the handler returns one of type {}",
                    takes.1, error.1
                ));
            }
            let route = Route {
                path: path.clone(),
                attribute: Announcement::of(&name),
                name,
                place: place.clone(),
                webhook,
                caller_webhook,
                payload,
                queries,
                names_webhooks,
                needs,
                example,
                described: describe.map(|describe| describe()),
                retry_if: retry_if.map(|condition| condition.retry_if),
                #[cfg(feature = "cron")]
                schedule,
                of_program: limits,
                limits: RwLock::new(limits),
                run,
                constant: OnceLock::new(),
            };
            routes.insert(path, Arc::new(route));
        }
        if errors.is_empty() { Ok(Self { by_path: Arc::new(routes), ..Self::default() }) } else { Err(errors) }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Route>> {
        self.by_path.get(path)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_path.values()
    }

    /// Returns which form the reports have.
    pub(crate) fn formats(&self) -> &Formats {
        &self.formats
    }

    /// Sets the place of large results, once.
    pub(crate) fn keep_results(&self, options: &results::Options, retention: Duration) {
        if let Some(results) = Results::of(options, retention) {
            self.results.get_or_init(|| Arc::new(results));
        }
    }

    /// Returns the place of large results. `None`: there is none.
    pub(crate) fn results(&self) -> Option<&Arc<Results>> {
        self.results.get()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.by_path.keys().cloned().collect()
    }

    /// Sets the limits of each route to those of the operator. `of_operator` returns them for a path. Where the
    /// operator has set none, those of the program apply.
    pub(crate) fn limit(&self, of_operator: impl Fn(&str) -> Limits) {
        for route in self.iter() {
            let limits = of_operator(&route.path).or(route.of_program);
            *route.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        }
    }
}

fn check(path: &str) -> Result<(), String> {
    let Some(rest) = path.strip_prefix('/') else { return Err("a route must start with `/`".into()) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    for segment in rest.split('/') {
        if segment.is_empty() {
            return Err("a route must not have an empty segment or end in `/`".into());
        }
        if segment == "." || segment == ".." || !segment.chars().all(allowed) {
            return Err(format!(
                "the segment `{}` has a character other than A-Z, a-z, 0-9, `-`, `_`, `.`, `~`",
                segment.escape_debug()
            ));
        }
    }
    let first = rest.split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        return Err(format!("`/{first}` is reserved for the server; use another path"));
    }
    Ok(())
}

/// Whether two routes cannot be in the same app, because the server would not know which of them a path means. The
/// route `/a` also serves `/a/{id}`, `/a/{id}/result` and `/a/{id}/events`, so it clashes with the routes `/a/b` and
/// `/a/b/result`.
fn clash(a: &str, b: &str) -> bool {
    let below = |a: &str, b: &str| {
        let rest = b.strip_prefix(a).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| match rest.split_once('/') {
            None => true,
            Some((_, last)) => matches!(last, "result" | "events"),
        })
    };
    a == b || below(a, b) || below(b, a)
}

/// The error that says which mistake a route has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: route {path}: {problem}", path = path.escape_debug())]
pub(crate) struct RouteError {
    path: String,
    place: Place,
    problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::Location;

    use crate::handler::{Payload, State, States};

    async fn nothing() -> Result<(), String> {
        Ok(())
    }

    async fn greedy(_: Payload<u8>, _: State<String>, _: Payload<u8>) -> Result<(), String> {
        Ok(())
    }

    fn shared() -> Arc<Shared<()>> {
        Arc::new(Shared { settings: Arc::new(()), states: States::default() })
    }

    #[track_caller]
    fn unbound(path: &str) -> Unbound<()> {
        Unbound::new(path.to_owned(), nothing, Location::caller())
    }

    fn problems(paths: &[&str]) -> Vec<String> {
        let unbound = paths.iter().map(|path| unbound(path)).collect();
        Routes::bind(unbound, &shared()).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_routes_are_bound() {
        assert!(
            problems(&["/a", "/b/c", "/b/d", "/v1.0/x_y~z", "/a/b/c", "/c/result", "/d/b/c/events", "/d"]).is_empty()
        );
    }

    #[test]
    fn every_bad_route_is_told_with_its_place() {
        let bad = [
            "a",
            "/",
            "/a/",
            "/a//b",
            "/a b",
            "/{id}",
            "/..",
            "/healthz",
            "/_postback/x",
            "/.well-known/x",
            "/metrics",
            "",
        ];
        let told = problems(&bad);
        assert_eq!(told.len(), bad.len(), "{told:#?}");
        assert!(told.iter().all(|text| text.contains("routes.rs:")), "{told:#?}");
    }

    #[test]
    fn clashing_routes_are_told_with_both_places() {
        for pair in [["/a", "/a"], ["/a", "/a/b"], ["/a/b", "/a"], ["/a", "/a/b/result"], ["/a/b/events", "/a"]] {
            let told = problems(&pair);
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].matches("routes.rs:").count(), 2, "{told:?}");
        }
    }

    #[test]
    fn a_limit_out_of_its_range_is_told_with_its_route() {
        let mut route = unbound("/a");
        route.limit(|limits| limits.concurrency = Some(0));
        let errors = Routes::bind(vec![route], &shared()).err().unwrap();
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(told[0].ends_with("route /a: `concurrency` is 0, and must be from 1 to 65536"), "{told:?}");
    }

    #[test]
    fn the_limits_of_the_operator_win_and_can_be_taken_back() {
        let mut route = unbound("/a");
        route.limit(|limits| *limits = Limits { concurrency: Some(1), max_attempts: Some(2), ..Limits::default() });
        let routes = Routes::bind(vec![route, unbound("/b")], &shared()).ok().unwrap();
        let of = |path: &str| routes.get(path).unwrap().limits();
        let operator = Limits { concurrency: Some(7), ..Limits::default() };
        routes.limit(|path| if path == "/a" { operator } else { Limits::default() });
        assert_eq!((of("/a").concurrency, of("/a").max_attempts), (Some(7), Some(2)));
        assert_eq!(of("/b"), Limits::default());
        routes.limit(|_| Limits::default());
        assert_eq!(of("/a").concurrency, Some(1));
    }

    #[test]
    fn what_a_handler_cannot_be_given_is_told_at_start() {
        let route = Unbound::new("/greedy".into(), greedy, Location::caller());
        let errors = Routes::bind(vec![route], &shared()).err().unwrap();
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("no alloc::string::String was given with App::state"), "{told:?}");
        assert!(told[1].contains("takes 2 payloads"), "{told:?}");
    }

    #[test]
    fn a_condition_on_another_error_is_told_with_both_types() {
        let mut route = unbound("/a");
        route.set_retry_if(|_: &u8| true);
        let errors = Routes::bind(vec![route], &shared()).err().unwrap();
        let told = errors[0].to_string();
        let what = "`retry_if` takes an error of type u8, but the handler returns one of type alloc::string::String";
        assert!(told.ends_with(what), "{told}");
        let mut route = unbound("/a");
        route.set_retry_if(|error: &String| error.is_empty());
        let routes = Routes::bind(vec![route], &shared()).ok().unwrap();
        let retry_if = routes.get("/a").unwrap().retry_if.clone().unwrap();
        assert_eq!(["", "x"].map(|text| retry_if(&text.to_owned())), [true, false]);
    }
}

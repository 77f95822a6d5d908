//! The dashboard: pages in a browser, which call the operator's API and nothing else.
//!
//! The files of the pages hold no data, so everybody who reaches the server may load them. The data is behind the
//! operator's API, which asks for the cookie of a session. A session is opened with a token, once for each browser.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::access::{ClientAddress, OverHttps, Session, Sessions};
use crate::pages::{self, File, Files};
use crate::problem::{Code, Form, Problem};

/// The path of the dashboard on the server's own address.
pub(crate) const PATH: &str = "/_postback/";

/// The files of the pages. Each view is one file, and `views.js` lists them.
const FILES: &[File] = &[
    File { path: "index.html", content: include_str!("dashboard/index.html") },
    File { path: "dashboard.css", content: include_str!("dashboard/dashboard.css") },
    File { path: "uplot.js", content: UPLOT },
    File { path: "charts.css", content: CHARTS_CSS },
    File { path: "charts.js", content: include_str!("dashboard/charts.js") },
    File { path: "ask.js", content: include_str!("dashboard/ask.js") },
    File { path: "changes.js", content: include_str!("dashboard/changes.js") },
    File { path: "find.js", content: include_str!("dashboard/find.js") },
    File { path: "form.js", content: include_str!("dashboard/form.js") },
    File { path: "keep.js", content: include_str!("dashboard/keep.js") },
    File { path: "keys.js", content: include_str!("dashboard/keys.js") },
    File { path: "list.js", content: include_str!("dashboard/list.js") },
    File { path: "main.js", content: include_str!("dashboard/main.js") },
    File { path: "table.js", content: include_str!("dashboard/table.js") },
    File { path: "views.js", content: include_str!("dashboard/views.js") },
    File { path: "views/overview.js", content: include_str!("dashboard/views/overview.js") },
    File { path: "views/requests.js", content: include_str!("dashboard/views/requests.js") },
    File { path: "views/deliveries.js", content: include_str!("dashboard/views/deliveries.js") },
    File { path: "views/dead.js", content: include_str!("dashboard/views/dead.js") },
    File { path: "views/origins.js", content: include_str!("dashboard/views/origins.js") },
    File { path: "views/try.js", content: include_str!("dashboard/views/try.js") },
    File { path: "views/schedules.js", content: include_str!("dashboard/views/schedules.js") },
    File { path: "views/audit.js", content: include_str!("dashboard/views/audit.js") },
    File { path: "views/nodes.js", content: include_str!("dashboard/views/nodes.js") },
    File { path: "views/tokens.js", content: include_str!("dashboard/views/tokens.js") },
    File { path: "views/settings.js", content: include_str!("dashboard/views/settings.js") },
];

/// The library that draws charts, as a module. Its licence asks to be in each copy.
const UPLOT: &str = concat!(
    "/*\n",
    include_str!("dashboard/uplot/LICENSE"),
    "*/\n",
    include_str!("dashboard/uplot/uPlot.iife.min.js"),
    "\nexport default uPlot;\n"
);

/// The styles of the library, and then those that change them.
const CHARTS_CSS: &str =
    concat!(include_str!("dashboard/uplot/uPlot.min.css"), "\n", include_str!("dashboard/charts.css"));

/// Decides whether a call with these headers, from this address, may open a session.
pub(crate) type MayLogIn = Box<dyn Fn(&HeaderMap, Option<ClientAddress>) -> Result<(), Problem> + Send + Sync>;

struct Dashboard {
    files: Files,
    sessions: Sessions,
    may_log_in: MayLogIn,
}

/// Makes the router of the dashboard. Its paths are those on the server's own address. The names of the server must be
/// checked before a call gets here.
pub(crate) fn router(sessions: Sessions, may_log_in: MayLogIn) -> Router {
    let dashboard = Arc::new(Dashboard { files: Files::new(&[pages::SHARED, FILES]), sessions, may_log_in });
    Router::new()
        .route("/_postback", get(async || Redirect::permanent(PATH)))
        .route(PATH, get(file))
        .route("/_postback/session", get(session).post(log_in).delete(log_out))
        .route("/_postback/{name}", get(file))
        .route("/_postback/shared/{name}", get(file))
        .route("/_postback/views/{name}", get(file))
        .with_state(dashboard)
}

async fn file(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    let path = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    dashboard.files.answer(path, request.headers()).unwrap_or_else(|| {
        let detail = format!("the dashboard has no file {}; open {PATH}", path.escape_debug());
        Problem::new(Code::NotFound, detail).respond(Form::Json)
    })
}

/// `GET session`: whether this browser has logged in. It is no error if it has not, so the page can ask at its start.
async fn session(State(dashboard): State<Arc<Dashboard>>, headers: HeaderMap) -> Response {
    let text = match dashboard.sessions.of(&headers) {
        Session::Open => "{\"open\":true}\n",
        Session::None | Session::Unknown => "{\"open\":false}\n",
    };
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    protected(response)
}

/// `POST session`: opens a session for a browser that brings the token in the header `authorization`.
async fn log_in(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    let client: Option<ClientAddress> = request.extensions().get().copied();
    let headers = request.headers();
    if let Err(why) = pages::of_own_page(request.method(), request.uri(), headers) {
        return protected(Problem::new(Code::Forbidden, why.to_string()).respond(Form::Json));
    }
    if let Err(problem) = (dashboard.may_log_in)(headers, client) {
        return protected(problem.respond(Form::Json));
    }
    let Some(cookie) = dashboard.sessions.open(is_secure(&request)) else {
        tracing::error!("the dashboard cannot be opened, because the operating system has no random bytes");
        return protected(Problem::internal().respond(Form::Json));
    };
    let from = client.map(|ClientAddress(address)| format!(" from {address}")).unwrap_or_default();
    tracing::info!("operator: the dashboard was opened{from}");
    with_cookie(Some(cookie))
}

/// `DELETE session`: ends the session of this browser.
async fn log_out(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Response {
    match pages::of_own_page(request.method(), request.uri(), request.headers()) {
        Ok(()) => with_cookie(dashboard.sessions.close(request.headers(), is_secure(&request))),
        Err(why) => protected(Problem::new(Code::Forbidden, why.to_string()).respond(Form::Json)),
    }
}

/// Whether the browser speaks https, as a trusted proxy says. The server itself speaks http.
fn is_secure(request: &Request) -> bool {
    matches!(request.extensions().get(), Some(OverHttps(true)))
}

fn with_cookie(cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    protected(response)
}

fn protected(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    pages::protect_data(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboard_is_light() {
        let bytes: usize = FILES.iter().chain(pages::SHARED).map(|file| file.content.len()).sum();
        assert!(bytes < 200 << 10, "all files together have {bytes} bytes");
    }
}

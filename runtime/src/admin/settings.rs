//! The effective settings, and reading them again.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::Admin;
use super::answer::{Answer, Json, Problem};
use super::audit::Actor;
use super::model::{Reload, Settings};
use crate::problem::{self, Code};
use postback_wire::id::RequestId;

/// The outcome of reading the settings again: what has changed, or the mistakes because of which nothing was changed.
pub(crate) type Reloaded = Result<Reload, String>;

/// The id of a request that was accepted, or why it was not.
pub(crate) type Accepted = Result<RequestId, problem::Problem>;

/// What the operator's API asks of other parts of the node.
pub(crate) struct Hooks {
    /// Returns the effective settings, with their secrets masked.
    pub(crate) settings: Box<dyn Fn() -> Settings + Send + Sync>,
    /// Reads the settings again, for the one with this name, and records who asked for it.
    pub(crate) reload: Box<dyn Fn(String) -> BoxFuture<'static, Reloaded> + Send + Sync>,
    /// Accepts a request of the route with this path, with these headers and this body.
    pub(crate) submit: Box<dyn Fn(String, HeaderMap, Body) -> BoxFuture<'static, Accepted> + Send + Sync>,
}

/// `GET /settings`.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Answer<Settings> {
    Ok(Json((admin.hooks.settings)()))
}

/// `POST /settings/reload`.
pub(super) async fn reload(State(admin): State<Arc<Admin>>, Extension(who): Extension<Actor>) -> Answer<Reload> {
    let reload = (admin.hooks.reload)(who.to_string());
    let reloaded = admin.change(async move { Ok(reload.await) }).await?;
    Ok(Json(reloaded.map_err(|why| Problem::new(Code::InvalidSettings, why))?))
}

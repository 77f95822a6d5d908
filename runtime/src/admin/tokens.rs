//! The tokens of callers: list, make, revoke.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Uri};

use super::Admin;
use super::answer::{Answer, Json, Problem, read};
use super::audit::Actor;
use super::model::Page;
use super::query::{Parameters, name_cursor};
use crate::access::{self, ManageError, TokenRequest, TokenView};
use crate::problem::Code;
use postback_wire::line::{Causes, Escaped};

/// `GET /tokens`: the tokens of the settings and of the store, by their ids.
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Page<TokenView>> {
    let parameters = Parameters::of(&uri, &["cursor", "limit"])?;
    let (after, limit) = (parameters.name()?, parameters.limit()?);
    // The number of tokens is bounded, so all of them can be read for one page.
    let mut tokens = access::list(&admin.store, &admin.access.options(), Some(&admin.access)).await?;
    tokens.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let first = tokens.partition_point(|token| token.id <= after);
    let mut items: Vec<TokenView> = tokens.drain(first..).collect();
    let is_last = items.len() <= limit;
    items.truncate(limit);
    let next = items.last().filter(|_| !is_last).map(|last| name_cursor(&last.id));
    Ok(Json(Page { items, next }))
}

/// `POST /tokens`: makes a token. The answer is the only one that ever shows its secret.
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    body: Body,
) -> Result<Response, Problem> {
    let request: TokenRequest = read(body).await?;
    let (of_task, who) = (Arc::clone(&admin), who.to_string());
    let created = admin.change(async move {
        let Admin { store, access, clock, .. } = &*of_task;
        let created = access::create(store, Some(access), clock, &who, &request).await?;
        let (id, name) = (&created.view.id, Escaped(&created.view.name));
        tracing::info!("operator: token.new {id} ({name}) by {who}");
        Ok(created)
    });
    let mut response = Json(created.await?).into_response();
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// `DELETE /tokens/{id}`: revokes a token, which is named by its id or its name.
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    Path(id): Path<String>,
) -> Answer<TokenView> {
    let (of_task, who) = (Arc::clone(&admin), who.to_string());
    let revoked = admin.change(async move {
        let Admin { store, access, .. } = &*of_task;
        let revoked = access::revoke(store, &access.options(), Some(access), &who, &id).await?;
        tracing::info!("operator: token.revoke {} by {who}", Escaped(&revoked.id));
        Ok(revoked)
    });
    Ok(Json(revoked.await?))
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let detail = Causes(&error).to_string();
        match error {
            ManageError::Invalid { member, .. } => Self::invalid(member, detail),
            ManageError::Unknown(_) => Self::not_found(detail),
            ManageError::OfSettings(_) | ManageError::TooMany(_) => Self::conflict(detail),
            ManageError::Random => Self::new(Code::InternalError, detail),
            ManageError::Store(error) => error.into(),
        }
    }
}

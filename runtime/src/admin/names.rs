//! Origins and disabled URLs: where reports wait, and which names the operator or a receiver has disabled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::Uri;
use url::Url;

use super::Admin;
use super::answer::{Answer, Json, Problem, read};
use super::audit::{self, Actor};
use super::model::{AllEnabled, DisabledName, Enabled, Endpoint, Name, Origin, Page};
use super::query::{Parameters, name_cursor};
use postback_store::{Disabled, DisabledNow, Store};
use postback_wire::line::hex;
use postback_wire::webhook::{Webhook, origin_of, shown};

const ORIGIN: &str = "`url` must be an origin: scheme, host and port, such as https://hooks.example.com";
/// The longest reason for which a name is disabled, in bytes.
const MAX_REASON: usize = 500;

/// `GET /origins`: every origin whose circuit is open, to which reports are parked, or that is disabled.
pub(super) async fn origins(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Page<Origin>> {
    let parameters = Parameters::of(&uri, &["cursor", "limit"])?;
    let (after, limit) = (parameters.sealed(&admin.cursors)?, parameters.limit()?);
    let _turn = admin.reads.acquire().await;
    let parked: BTreeMap<String, u64> = admin.store.parked_counts(&after, limit + 1).await?.into_iter().collect();
    let circuits: HashMap<String, _> = admin
        .delivery
        .circuits()
        .await
        .into_iter()
        .map(|circuit| (circuit.name.to_string(), circuit.test_in))
        .collect();
    let disabled = admin.store.disabled().await?;
    let disabled: BTreeSet<&str> = disabled.iter().map(|at| at.url.as_str()).filter(|name| is_origin(name)).collect();
    let names =
        parked.keys().map(String::as_str).chain(circuits.keys().map(String::as_str)).chain(disabled.iter().copied());
    let names: BTreeSet<&str> = names.filter(|name| **name > *after).collect();
    // Beyond the last parked name of a full page, the store may have more names, so the page ends there.
    let end = parked.keys().next_back().filter(|_| parked.len() > limit);
    let names: Vec<&str> = names.into_iter().filter(|name| end.is_none_or(|end| **name < **end)).collect();
    let next = if names.len() > limit || end.is_some() { names.get(..limit.min(names.len())) } else { None };
    let next = next.and_then(|names| names.last());
    let next = next.map(|last| admin.cursors.seal(last).ok_or_else(Problem::internal)).transpose()?;
    let mut items = Vec::new();
    for name in names.into_iter().take(limit) {
        let circuit = circuits.get(name);
        items.push(Origin {
            name: shown_name(name),
            circuit: match circuit {
                None => "closed",
                Some(Some(_)) => "open",
                Some(None) => "testing",
            }
            .to_owned(),
            test_at: circuit.and_then(|wait| Some(admin.clock.now().saturating_add((*wait)?).to_string())),
            parked: parked.get(name).copied().unwrap_or(0),
            held: if disabled.contains(name) { admin.store.held_count(name).await? } else { 0 },
            disabled: disabled.contains(name),
        });
    }
    Ok(Json(Page { items, next }))
}

/// Whether a disabled name is an origin. A URL has a path, and an origin has none.
fn is_origin(name: &str) -> bool {
    name.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'))
}

/// Shows an origin, or a URL without its secret parts.
fn shown_name(name: &str) -> String {
    if is_origin(name) { name.to_owned() } else { shown(name) }
}

/// `GET /endpoints`: the disabled URLs and origins.
pub(super) async fn endpoints(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Page<Endpoint>> {
    let _turn = admin.reads.acquire().await;
    endpoints_page(&admin.store, &uri).await
}

/// Returns the page of the disabled URLs and origins for which the query of `uri` asks.
pub(super) async fn endpoints_page(store: &Store, uri: &Uri) -> Answer<Page<Endpoint>> {
    let parameters = Parameters::of(uri, &["cursor", "limit"])?;
    let (after, limit) = (parameters.name()?, parameters.limit()?);
    let mut disabled: Vec<Disabled> = store.disabled().await?;
    disabled.sort_by_cached_key(place);
    let first = disabled.partition_point(|at| place(at) <= after);
    let page = disabled.get(first..).unwrap_or_default();
    let next = page.get(limit).and_then(|_| page.get(limit - 1)).map(|last| name_cursor(&place(last)));
    let mut items = Vec::new();
    for at in page.iter().take(limit) {
        items.push(Endpoint {
            url: shown_name(&at.url),
            since: at.since.to_string(),
            reason: at.reason.clone(),
            by: if at.by_operator { "operator" } else { "receiver" }.to_owned(),
            held: store.held_count(&at.url).await?,
        });
    }
    Ok(Json(Page { items, next }))
}

/// The place of a disabled URL in the list. A cursor must not show a URL, which may contain a secret.
fn place(at: &Disabled) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, at.url.as_bytes());
    format!("{:020}-{}", at.since.micros().max(0), hex(digest.as_ref().get(..8).unwrap_or_default()))
}

/// `POST /endpoints/enable`.
pub(super) async fn enable_endpoint(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    body: Body,
) -> Answer<AllEnabled> {
    let name: Name = read(body).await?;
    let of_task = Arc::clone(&admin);
    admin.change(async move { enable_endpoint_as(&of_task.store, &who, name).await }).await
}

/// `POST /origins/enable`.
pub(super) async fn enable_origin(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    body: Body,
) -> Answer<AllEnabled> {
    let name: Name = read(body).await?;
    let of_task = Arc::clone(&admin);
    admin.change(async move { enable_origin_as(&of_task.store, &who, name).await }).await
}

/// Enables the URLs that the name means, in the name of `who`: a URL in full, or as the list shows it.
pub(super) async fn enable_endpoint_as(
    store: &Store,
    who: &(impl Display + Sync),
    Name { url: asked, .. }: Name,
) -> Answer<AllEnabled> {
    let exact = Webhook::new(&asked).ok();
    let is_meant = |at: &Disabled| {
        !is_origin(&at.url)
            && (exact.as_ref().is_some_and(|webhook| webhook.url().as_str() == at.url) || shown(&at.url) == asked)
    };
    let urls: Vec<_> = store.disabled().await?.into_iter().filter(is_meant).map(|at| at.url).collect();
    if urls.is_empty() {
        return Err(Problem::not_found(format!(
            "{} is not disabled; the list of disabled URLs shows what is",
            asked.escape_debug()
        )));
    }
    enable(store, who, "endpoint.enable", urls).await
}

/// Enables an origin in the name of `who`.
pub(super) async fn enable_origin_as(
    store: &Store,
    who: &(impl Display + Sync),
    Name { url: asked, .. }: Name,
) -> Answer<AllEnabled> {
    let origin = origin(&asked)?;
    if !store.disabled().await?.iter().any(|at| at.url == origin) {
        return Err(Problem::not_found(format!("{origin} is not disabled")));
    }
    enable(store, who, "origin.enable", vec![origin]).await
}

async fn enable(
    store: &Store,
    who: &(impl Display + Sync),
    what: &'static str,
    names: Vec<String>,
) -> Answer<AllEnabled> {
    let mut enabled = Vec::new();
    for name in names {
        let reports = store.enable(&name).await?;
        let url = shown_name(&name);
        tracing::info!(reports, "{url} was enabled by an operator; {reports} reports were held for it");
        audit::record(store, who, what, &url, &format!("{reports} reports were held")).await;
        enabled.push(Enabled { url, reports });
    }
    Ok(Json(AllEnabled { enabled }))
}

/// `POST /endpoints/disable`.
pub(super) async fn disable_endpoint(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    body: Body,
) -> Answer<DisabledName> {
    let name: Name = read(body).await?;
    let of_task = Arc::clone(&admin);
    admin.change(async move { disable_endpoint_as(&of_task.store, &who, name).await }).await
}

/// `POST /origins/disable`.
pub(super) async fn disable_origin(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Actor>,
    body: Body,
) -> Answer<DisabledName> {
    let name: Name = read(body).await?;
    let of_task = Arc::clone(&admin);
    admin.change(async move { disable_origin_as(&of_task.store, &who, name).await }).await
}

/// Disables a URL in the name of `who`.
pub(super) async fn disable_endpoint_as(
    store: &Store,
    who: &(impl Display + Sync),
    Name { url, reason }: Name,
) -> Answer<DisabledName> {
    let webhook = Webhook::new(&url).map_err(|error| Problem::invalid("url", format!("`url`: {error}")))?;
    disable(store, who, "endpoint.disable", webhook.url().as_str(), reason).await
}

/// Disables an origin in the name of `who`.
pub(super) async fn disable_origin_as(
    store: &Store,
    who: &(impl Display + Sync),
    Name { url, reason }: Name,
) -> Answer<DisabledName> {
    disable(store, who, "origin.disable", &origin(&url)?, reason).await
}

async fn disable(
    store: &Store,
    who: &(impl Display + Sync),
    what: &'static str,
    name: &str,
    reason: Option<String>,
) -> Answer<DisabledName> {
    let reason = reason.unwrap_or_else(|| "disabled by the operator".to_owned());
    if reason.len() > MAX_REASON {
        return Err(Problem::invalid("reason", format!("`reason` has more than {MAX_REASON} bytes")));
    }
    let url = shown_name(name);
    match store.disable(name, &reason).await? {
        // What is disabled already gets the new reason, so that is a change, too.
        DisabledNow::Done | DisabledNow::Already => audit::record(store, who, what, &url, &reason).await,
        DisabledNow::Full => return Err(Problem::conflict("too many URLs are disabled; enable some of them first")),
    }
    Ok(Json(DisabledName { url }))
}

/// Reads an origin: scheme, host and port, with or without a path of `/`.
fn origin(text: &str) -> Result<String, Problem> {
    let wrong = || Problem::invalid("url", ORIGIN);
    let webhook = Webhook::new(text).map_err(|_| wrong())?;
    let url: &Url = webhook.url();
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if is_bare { Ok(origin_of(url).to_owned()) } else { Err(wrong()) }
}

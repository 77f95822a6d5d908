//! The tables `[route."/path"]`: the operator's limits for single routes.

use std::fmt;

use super::error::{Error, Errors};
use super::mismatch::expected;
use super::read;
use super::section::Section;
use super::set_by::SetBy;
use super::suggestion::suggest;
use super::tree::{Node, folded};
use crate::handler::{Limits, Routes, allowed};

/// The limits of one route, as the operator has set them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RouteLimits {
    /// The path of the route. If environment variables alone set the limits, the path without its slashes, dashes and
    /// underscores, because the name of a variable cannot contain them.
    pub(super) path: String,
    set_by: SetBy,
    pub(super) limits: Limits,
}

impl fmt::Debug for RouteLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteLimits({}: {})", folded(&self.path), self.limits)
    }
}

/// Reads the tables below `route`.
pub(super) fn routes(node: Option<Node>, errors: &mut Vec<Error>) -> Vec<RouteLimits> {
    let Some(node) = node else { return Vec::new() };
    let set_by = node.set_by.clone();
    let Some(tables) = node.into_table() else {
        errors.push(
            expected("a table for each route, such as [route.\"/path\"]").into_error("route".to_owned(), &set_by),
        );
        return Vec::new();
    };
    let one = |(path, node): (String, Node)| {
        let set_by = node.set_by.clone();
        let limits = limits(Section::new(key(&path), Some(node), errors));
        RouteLimits { path, set_by, limits }
    };
    tables.into_iter().map(one).collect()
}

fn limits(mut section: Section<'_>) -> Limits {
    let pause = |node| read::duration(node, &allowed::PAUSE).map(Some);
    let limits = Limits {
        concurrency: section.take("concurrency", None, |node| read::whole(node, &allowed::CONCURRENCY).map(Some)),
        timeout: section.take("timeout", None, |node| read::duration(node, &allowed::RUN_TIMEOUT).map(Some)),
        max_attempts: section.take("max_attempts", None, |node| read::whole(node, &allowed::RUNS).map(Some)),
        retry_delay: section.take("retry_delay", None, pause),
        max_retry_delay: section.take("max_retry_delay", None, pause),
        max_queued: section.take("max_queued", None, |node| read::whole(node, &allowed::QUEUED).map(Some)),
        max_queued_bytes: section.take("max_queued_bytes", None, |node| {
            read::size(node, &allowed::QUEUED_BYTES).map(|size| Some(size as u64))
        }),
        retention: section.take("retention", None, |node| read::duration(node, &allowed::RETENTION).map(Some)),
        priority: section.take("priority", None, |node| read::signed(node, &allowed::PRIORITY).map(Some)),
        allow_priority: section.take("allow_priority", None, |node| read::boolean(node).map(Some)),
    };
    section.finish();
    limits
}

/// Returns the dotted key of a route's table, as the settings file writes it.
fn key(path: &str) -> String {
    format!("route.{path:?}")
}

/// Returns the path with a slash at its start, which the name of a variable cannot have.
fn with_slash(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Sets the limits of the routes to those in `limits`. If the app does not have one of these routes, returns an error
/// that names the most similar route, and changes nothing.
pub(crate) fn apply(limits: &[RouteLimits], routes: &Routes) -> Result<(), Errors> {
    let paths = routes.paths();
    let is_named = |limits: &RouteLimits, path: &str| {
        let by_variable = matches!(limits.set_by, SetBy::Variable(_) | SetBy::Flag(_));
        limits.path == path || (by_variable && folded(&limits.path) == folded(path))
    };
    let known: Vec<&str> = paths.iter().map(String::as_str).collect();
    let unknown = limits.iter().filter(|limits| !known.iter().any(|path| is_named(limits, path)));
    let errors: Vec<Error> = unknown
        .map(|RouteLimits { path, set_by, .. }| Error::UnknownRoute {
            key: key(path),
            set_by: set_by.clone(),
            hint: suggest(&with_slash(path), &known).map(|hint| hint.replacen("known keys", "its routes", 1)),
        })
        .collect();
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    routes.limit(|path| {
        let of_route = limits.iter().filter(|limits| is_named(limits, path));
        of_route.fold(Limits::default(), |all, one| all.or(one.limits))
    });
    Ok(())
}

//! The processes that use the store.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;

use super::Admin;
use super::answer::{Answer, Json};
use super::model::{Node, Page};
use postback_store::NodeRecord;

/// A node that shows no sign of life for this long is shown as silent. It beats every second.
const SILENT: Duration = Duration::from_secs(4);

/// `GET /nodes`. The list is short, so it has one page.
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer<Page<Node>> {
    let nodes = admin.store.nodes().await?;
    let items = if nodes.is_empty() { vec![only(&admin).await?] } else { nodes.into_iter().map(shown).collect() };
    Ok(Json(Page { items, next: None }))
}

/// Describes this process, which is the only one that uses the store.
async fn only(admin: &Admin) -> Result<Node, postback_store::Error> {
    let uptime = admin.clock.elapsed().saturating_sub(admin.started);
    Ok(Node {
        id: "this".to_owned(),
        name: format!("process {}", std::process::id()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: admin.clock.now().saturating_sub(uptime).to_string(),
        state: "live".to_owned(),
        silent_seconds: None,
        is_this: true,
        running: admin.store.counts().await?.running,
        delivering: None,
    })
}

fn shown(node: NodeRecord) -> Node {
    let state = match node.silent {
        _ if node.is_over => "over",
        Some(silent) if silent > SILENT => "silent",
        _ => "live",
    };
    Node {
        id: node.id,
        name: node.name,
        version: node.version,
        started: node.started.to_string(),
        state: state.to_owned(),
        silent_seconds: node.silent.map(|silent| silent.as_secs_f64()),
        is_this: node.is_this,
        running: node.running,
        delivering: Some(node.delivering),
    }
}

//! The record of the changes that operators make: who, what and when.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use http::Uri;

use super::Admin;
use super::answer::{Answer, Json};
use super::model::{AuditEntry, Page};
use super::query::{Parameters, row_cursor};
use postback_store::{NewAudit, Store, warn_unless_logged};
use postback_wire::line::{Causes, Escaped};

/// Who makes a call of the operator's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// A process of this user, through the Unix socket.
    #[cfg_attr(
        not(all(unix, feature = "sqlite")),
        expect(dead_code, reason = "only a database has a socket beside it")
    )]
    Socket { uid: u32 },
    /// Somebody who has `server.admin_token`, from this address.
    AdminToken { from: Option<IpAddr> },
    /// Somebody who has logged in to the dashboard, from this address.
    Dashboard { from: Option<IpAddr> },
}

impl Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket { uid } => write!(f, "socket uid {uid}"),
            Self::AdminToken { from: Some(address) } => write!(f, "admin token from {address}"),
            Self::AdminToken { from: None } => f.write_str("admin token"),
            Self::Dashboard { from: Some(address) } => write!(f, "dashboard from {address}"),
            Self::Dashboard { from: None } => f.write_str("dashboard"),
        }
    }
}

/// Records a change that was made. `what` names the change, such as `request.cancel`, and `subject` names what was
/// changed, such as an id or a URL without its secret parts. The change was made already, so the call succeeds even if
/// the record cannot be written: then the log has it alone.
pub(crate) async fn record(
    store: &Store,
    who: &(impl Display + Sync),
    what: &'static str,
    subject: &str,
    detail: &str,
) {
    tracing::info!("operator: {what} {} by {who}", Escaped(subject));
    if let Err(error) = store.audit(NewAudit::new(&who.to_string(), what, subject, detail)).await {
        warn_unless_logged!(error, "the change {what} is not in the audit: {}", Causes(&error));
    }
}

/// `GET /audit`: the changes that operators made, the latest first.
pub(super) async fn list(State(admin): State<Arc<Admin>>, uri: Uri) -> Answer<Page<AuditEntry>> {
    let parameters = Parameters::of(&uri, &["cursor", "limit"])?;
    let (before, limit) = (parameters.row()?.and_then(|row| i64::try_from(row).ok()), parameters.limit()?);
    let records = admin.store.audited(before, limit).await?;
    let next = records.last().filter(|_| records.len() == limit).and_then(|last| u64::try_from(last.seq).ok());
    let items = records.into_iter().map(|record| AuditEntry {
        at: record.at.to_string(),
        who: record.entry.who,
        what: record.entry.what,
        subject: record.entry.subject,
        detail: Some(record.entry.detail).filter(|detail| !detail.is_empty()),
    });
    Ok(Json(Page { items: items.collect(), next: next.map(row_cursor) }))
}

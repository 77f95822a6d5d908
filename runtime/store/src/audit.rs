//! The audit: what operators changed, when and who. The number of its entries is bounded, and old ones are deleted.

use std::time::Duration;

use crate::Store;
use crate::error::Error;
use postback_wire::time::Timestamp;

/// The largest number of entries. If there are more, the oldest are deleted.
pub(crate) const MOST_ENTRIES: u32 = 100_000;
/// How much longer than finished requests the entries stay.
pub(crate) const LONGER_THAN_REQUESTS: Duration = Duration::from_hours(90 * 24);
/// The most bytes of each text of an entry.
const MAX_TEXT: usize = 2_048;
/// The most entries of one page.
const MAX_PAGE: usize = 1_000;

/// A new entry of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// Who made the change, such as `admin token from 10.0.0.7` or `command line`.
    pub who: String,
    /// What was done, such as `token.revoke`.
    pub what: String,
    /// The id or the name of what was changed.
    pub subject: String,
    /// More about the change. Empty: there is no more to say.
    pub detail: String,
}

impl NewAudit {
    /// Makes an entry. Each text is cut off after 2 KiB.
    pub fn new(who: &str, what: &str, subject: &str, detail: impl Into<String>) -> Self {
        let cut = |mut text: String| {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text
        };
        let [who, what, subject] = [who, what, subject].map(|text| cut(text.to_owned()));
        Self { who, what, subject, detail: cut(detail.into()) }
    }
}

/// An entry of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// The number of the entry. A later entry has a greater number.
    pub seq: i64,
    pub at: Timestamp,
    pub entry: NewAudit,
}

impl Store {
    /// Returns up to `limit` entries, the latest first. `before` is the number of the last entry of the page before:
    /// only earlier entries are returned. `None`: the first page.
    pub async fn audited(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, Error> {
        let before = before.unwrap_or(i64::MAX);
        self.reader()?.audited(before, limit.min(MAX_PAGE)).await.map_err(Error::Backend)
    }
}

//! Lists of requests, the newest first, page by page.

use crate::Store;
use crate::error::Error;
use postback_wire::id::RequestId;
use postback_wire::report::Status;
use postback_wire::time::Timestamp;

/// The largest number of rows that one page looks at. If few rows pass the filter, a page may have fewer rows than the
/// caller asked for, and still not be the last.
pub(crate) const LOOKED_AT: usize = 10_000;

/// The status of a request in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListedStatus {
    Queued,
    Running,
    Ended(Status),
}

impl ListedStatus {
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Ended(Status::Completed),
        Self::Ended(Status::Failed),
        Self::Ended(Status::Cancelled),
    ];
}

/// Which requests a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFilter {
    pub statuses: Vec<ListedStatus>,
    /// The earliest time at which a request was created.
    pub created_from: Timestamp,
    /// The time before which a request was created.
    pub created_before: Timestamp,
}

/// The default is a filter that every request passes.
impl Default for ListFilter {
    fn default() -> Self {
        Self {
            statuses: ListedStatus::ALL.to_vec(),
            created_from: Timestamp::from_micros(i64::MIN),
            created_before: Timestamp::from_micros(i64::MAX),
        }
    }
}

impl ListFilter {
    pub(crate) fn passes(&self, row: &Listed) -> bool {
        self.statuses.contains(&row.status) && (self.created_from..self.created_before).contains(&row.created)
    }

    /// Whether every request passes the filter.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn is_open(&self) -> bool {
        let all = Self::default();
        self.created_from == all.created_from
            && self.created_before == all.created_before
            && ListedStatus::ALL.iter().all(|status| self.statuses.contains(status))
    }
}

/// A request in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: RequestId,
    pub status: ListedStatus,
    pub created: Timestamp,
    /// The time when the request ended. `None`: it has not ended.
    pub finished: Option<Timestamp>,
}

/// A place in a list: the number of the last row that a page has looked at. The next page begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub i64);

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Listed>,
    /// Where the next page begins. `None`: this page is the last.
    pub next: Option<Cursor>,
}

impl Store {
    /// Returns up to `limit` requests of this route and this owner that pass the filter, the newest first. `after` is
    /// the value `next` of the page before. `None`: the first page.
    pub async fn list_own_requests(
        &self,
        route: &str,
        owner: &str,
        filter: &ListFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.reader()?.list(route, owner, filter, after, limit).await.map_err(Error::Backend)
    }
}

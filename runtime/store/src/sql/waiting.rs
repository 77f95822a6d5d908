//! What waits of each route, as one statement of each database tells it.

use std::collections::HashMap;

use crate::record::Owner;

/// What waits of one route.
#[derive(Default)]
pub(crate) struct Head {
    /// The due time of a request that can be claimed now.
    pub fresh: Option<i64>,
    /// The due time of the first request that is not marked as due.
    pub later: Option<i64>,
    /// The due time of the first suspect: a request that was running when an earlier process ended.
    pub suspect: Option<i64>,
    /// The first and the last owner of requests that can be claimed now.
    pub owners: Option<(Owner, Owner)>,
}

/// A row of the statement: what waits in one of the three indexes of one route.
pub(crate) struct HeadRow {
    pub route: String,
    /// The index: 0 for requests that can be claimed now, 1 for those that are not marked as due, 2 for suspects.
    pub index: i64,
    pub due: Option<i64>,
    pub owners: Option<(Owner, Owner)>,
}

impl Head {
    /// Makes a value for each route, in the order of the routes. The rows may name routes that are none of these.
    pub(crate) fn of_each<E>(
        routes: &[String],
        rows: impl IntoIterator<Item = Result<HeadRow, E>>,
    ) -> Result<Vec<Self>, E> {
        let mut waiting: HashMap<String, Self> = HashMap::new();
        for row in rows {
            let HeadRow { route, index, due, owners } = row?;
            let head = waiting.entry(route).or_default();
            match index {
                0 => (head.fresh, head.owners) = (due, owners),
                1 => head.later = due,
                _ => head.suspect = due,
            }
        }
        Ok(routes.iter().map(|route| waiting.remove(route).unwrap_or_default()).collect())
    }

    /// Returns when the next request of the route can be claimed.
    pub(crate) fn next(&self, suspects: bool) -> Option<i64> {
        [self.fresh, self.later, self.suspect.filter(|_| suspects)].into_iter().flatten().min()
    }
}

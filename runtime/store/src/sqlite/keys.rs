//! The idempotency keys that are taken, and the requests that have them.
//!
//! A key is a digest, so each new row of an index of keys would change a page that no other request of the same commit
//! changes. Therefore the keys of the newest requests are in memory, and only their requests are written. When there are
//! many, they are filed: added to the table `request_key` in the order of the keys, a part with each batch, so that a page
//! that changes gets several keys.
//!
//! Invariant: a key of a committed request is in memory or in the table. An entry in memory may be stale: its batch
//! failed, its request was deleted, or another request has got the key since, and is in the table. So both are looked
//! up, and a request that is found is asked for its key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Error, params};

use super::statement::{query, statement};
use crate::terms::IdempotencyKey;

/// How many keys are in memory before they are filed. They take some 2 MiB.
const MOST_KEYS: usize = 1 << 15;
/// How many requests are written before the keys in memory are filed. The next start of the process reads their rows.
const MOST_ROWS: i64 = 1 << 17;
/// How many keys a batch files. A batch that adds many itself files more.
const PART: usize = 256;

/// The keys in memory, and the row numbers of their requests. The thread of SQLite adds keys, and other threads read them.
#[derive(Clone, Default)]
pub(super) struct Fresh(Arc<Mutex<HashMap<IdempotencyKey, i64>>>);

impl Fresh {
    /// Returns the row number of the request that may have this key. It must be looked up before the table is read:
    /// otherwise a key that is filed meanwhile may be in neither.
    pub(super) fn get(&self, key: &IdempotencyKey) -> Option<i64> {
        self.keys().get(key).copied()
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<IdempotencyKey, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread of SQLite knows of the keys.
pub(super) struct Keys {
    fresh: Fresh,
    /// The keys of all requests up to this row number are in the table.
    filed: i64,
    filing: Option<Filing>,
    /// How many keys the current batch has added.
    added: usize,
    limits: Limits,
}

/// When keys are filed.
struct Limits {
    /// See [`MOST_KEYS`].
    keys: usize,
    /// See [`MOST_ROWS`].
    rows: i64,
    /// See [`PART`].
    part: usize,
}

/// Keys that are being filed, in their order.
struct Filing {
    keys: Vec<(IdempotencyKey, i64)>,
    /// How many of them are in the table, and committed.
    done: usize,
    /// How many of them the current batch adds.
    in_batch: usize,
    /// The row number of the newest request when this began.
    up_to: i64,
}

impl Keys {
    /// Reads the keys that an earlier process had in memory. `filed` is what the database says, and `last_request` the
    /// largest row number that it has.
    pub(super) fn load(conn: &Connection, filed: i64, last_request: i64) -> Result<Self, Error> {
        // If the newest requests were deleted, their numbers are used again.
        let filed = filed.min(last_request);
        let sql = "SELECT idempotency, seq FROM request WHERE seq > ?1 AND idempotency IS NOT NULL";
        let fresh = Fresh::default();
        for row in query(sql).bind(filed).fetch_all(conn)? {
            if let Some(key) = IdempotencyKey::stored(row.try_get(0)?) {
                fresh.keys().insert(key, row.try_get(1)?);
            }
        }
        Ok(Self {
            fresh,
            filed,
            filing: None,
            added: 0,
            limits: Limits { keys: MOST_KEYS, rows: MOST_ROWS, part: PART },
        })
    }

    pub(super) fn fresh(&self) -> &Fresh {
        &self.fresh
    }

    /// Begins a batch, and forgets what a failed one had begun. Returns up to which request the keys are in the table, for
    /// the batch to store. `last_request` is the number of the newest request.
    pub(super) fn begin(&mut self, last_request: i64) -> i64 {
        self.added = 0;
        match &mut self.filing {
            Some(filing) => filing.in_batch = 0,
            None if self.fresh.keys().is_empty() => self.filed = last_request,
            None => {}
        }
        self.filed
    }

    /// Whether a request may have this key.
    pub(super) fn may_be_taken(&self, conn: &Connection, key: &IdempotencyKey) -> Result<bool, Error> {
        let is_filed = || statement(conn, "SELECT 1 FROM request_key WHERE key = ?1")?.exists(params![key.as_bytes()]);
        Ok(self.fresh.get(key).is_some() || is_filed()?)
    }

    /// Adds the key of a new request.
    pub(super) fn add(&mut self, key: &IdempotencyKey, seq: i64) {
        self.fresh.keys().insert(*key, seq);
        self.added += 1;
    }

    /// Files a part of the keys, if there are too many in memory. Called once for each batch, at its end.
    pub(super) fn file(&mut self, conn: &Connection, last_request: i64) -> Result<(), Error> {
        let Limits { keys: most, rows, part } = self.limits;
        if self.filing.is_none() {
            let fresh = self.fresh.keys();
            if fresh.len() < most && (fresh.is_empty() || last_request - self.filed < rows) {
                return Ok(());
            }
            let mut keys: Vec<_> = fresh.iter().map(|(key, seq)| (*key, *seq)).collect();
            // Readers wait for it.
            drop(fresh);
            keys.sort_unstable();
            self.filing = Some(Filing { keys, done: 0, in_batch: 0, up_to: last_request });
        }
        if let Some(filing) = &mut self.filing {
            // More than are added, so that fewer keys are in memory at the end.
            filing.in_batch = part.max(2 * self.added).min(filing.keys.len() - filing.done);
            let sql = "INSERT OR REPLACE INTO request_key (key, seq) SELECT idempotency, seq FROM request \
                       WHERE seq = ?2 AND idempotency = ?1";
            let mut write = statement(conn, sql)?;
            for (key, seq) in filing.keys.iter().skip(filing.done).take(filing.in_batch) {
                write.execute(params![key.as_bytes(), seq])?;
            }
        }
        Ok(())
    }

    /// Notes that the batch is committed.
    pub(super) fn committed(&mut self) {
        let Some(filing) = &mut self.filing else { return };
        filing.done += std::mem::take(&mut filing.in_batch);
        if filing.done == filing.keys.len() {
            self.filed = filing.up_to;
            let mut keys = self.fresh.keys();
            for (key, seq) in &filing.keys {
                if keys.get(key) == Some(seq) {
                    keys.remove(key);
                }
            }
            drop(keys);
            self.filing = None;
        }
    }
}

/// Gives an old request a key. Its number may be among those whose keys are in the table.
pub(super) fn give(conn: &Connection, key: &IdempotencyKey, seq: i64) -> Result<(), Error> {
    let sql = "UPDATE request SET idempotency = ?1 WHERE seq = ?2 AND idempotency IS NULL";
    if query(sql).bind(key.as_bytes()).bind(seq).execute(conn)? > 0 {
        let sql = "INSERT OR REPLACE INTO request_key (key, seq) VALUES (?1, ?2)";
        query(sql).bind(key.as_bytes()).bind(seq).execute(conn)?;
    }
    Ok(())
}

/// Deletes the key of a deleted request from the table.
pub(super) fn delete(conn: &Connection, key: &[u8], seq: i64) -> Result<(), Error> {
    let sql = "DELETE FROM request_key WHERE key = ?1 AND seq = ?2";
    query(sql).bind(key).bind(seq).execute(conn).map(drop)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use postback_wire::id::{NodeId, RequestId};
    use postback_wire::time::{Clock, Timestamp};

    use super::*;
    use crate::Durability;
    use crate::backend::Failure;
    use crate::clock::Now;
    use crate::ops::{Op, Purge, Reply, Submit};
    use crate::record::{NewRequest, Submitted};
    use crate::series::Step;
    use crate::sqlite::connect::Connector;
    use crate::sqlite::{Sqlite, start};

    fn started(folder: &Path) -> Sqlite {
        let connector = Connector::new(&folder.join("store.db"), Durability::Normal);
        let (mut sqlite, ..) = start(connector, NodeId::generate(), &Clock::system()).unwrap();
        sqlite.keys.limits = Limits { keys: 4, rows: 8, part: 1 };
        sqlite
    }

    fn now() -> Now {
        Now { wall: Timestamp::default(), due: Timestamp::default() }
    }

    fn submit(id: &str, key: impl Into<Option<usize>>) -> Op {
        let mut request = NewRequest::new(RequestId::stored(id), "/a", "", Timestamp::default());
        request.idempotency = key.into().map(|key| IdempotencyKey::new("", "/a", &key.to_string()));
        Submit { request: Box::new(request), room: None, is_handed_in: false, slot: None }.into()
    }

    fn answer(sqlite: &mut Sqlite, op: Op) -> Submitted {
        match sqlite.apply(&[op], now()).unwrap().remove(0) {
            Reply::Submit(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn end_and_purge(sqlite: &mut Sqlite, ids: [&str; 2]) {
        let conn = sqlite.conn.as_ref().unwrap();
        conn.execute("UPDATE request SET state = 2, finished = 0 WHERE id IN (?1, ?2)", ids).unwrap();
        let before = Timestamp::from_micros(1);
        let figures = [Step::Minute, Step::TenMinutes].map(|step| (step, before));
        sqlite.apply(&[Purge { before, of_routes: vec![], limit: 9, figures, trust: None }.into()], now()).unwrap();
    }

    fn filed(sqlite: &Sqlite) -> i64 {
        // Not through `statement`, because no statement of the program counts them.
        let conn = sqlite.conn.as_ref().unwrap();
        conn.query_row("SELECT count(*) FROM request_key", [], |row| row.get(0)).unwrap()
    }

    /// The keys are in memory, in the table, and on the way, when commits fail and the process ends.
    #[test]
    pub(crate) fn a_key_is_known_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut sqlite = started(folder.path());
        let mut most_fresh = 0;
        for key in 0..60 {
            if key % 5 == 2 {
                // The commit fails. So the next batch does the same part again.
                sqlite.conn.as_ref().unwrap().commit_hook(Some(|| true)).unwrap();
                let failed = sqlite.apply(&[submit("failed", 1000 + key)], now());
                assert!(matches!(failed, Err(Failure::Unknown { .. })));
                assert!(!sqlite.committed().unwrap());
            }
            if key % 7 == 3 {
                sqlite.close();
                sqlite = started(folder.path());
            }
            assert_eq!(answer(&mut sqlite, submit(&format!("r{key}"), key)), Submitted::New);
            for earlier in 0..=key {
                let first = RequestId::stored(&format!("r{earlier}"));
                assert_eq!(answer(&mut sqlite, submit("again", earlier)), Submitted::Repeated(first), "after {key}");
            }
            most_fresh = most_fresh.max(sqlite.keys.fresh.keys().len());
        }
        assert!(filed(&sqlite) > 40 && most_fresh < 20, "{} are filed, and {most_fresh} were fresh", filed(&sqlite));
        // What the failed batches brought is free.
        assert_eq!(answer(&mut sqlite, submit("failed", 1002)), Submitted::New);
        sqlite.close();
    }

    /// A request that is known by its id takes a key of which memory has a stale entry.
    #[test]
    fn a_stale_entry_hides_no_key() {
        for is_failed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut sqlite = started(folder.path());
            if is_failed {
                sqlite.conn.as_ref().unwrap().commit_hook(Some(|| true)).unwrap();
                assert!(matches!(sqlite.apply(&[submit("a", 1)], now()), Err(Failure::Unknown { .. })));
                assert!(!sqlite.committed().unwrap());
            } else {
                assert_eq!(answer(&mut sqlite, submit("a", 1)), Submitted::New);
                end_and_purge(&mut sqlite, ["a", ""]);
            }
            assert_eq!(answer(&mut sqlite, submit("b", None)), Submitted::New);
            assert_eq!(answer(&mut sqlite, submit("b", 1)), Submitted::Known);
            let first = || Submitted::Repeated(RequestId::stored("b"));
            assert_eq!(answer(&mut sqlite, submit("c", 1)), first());
            // What files the stale entry changes nothing.
            for key in 10..30 {
                assert_eq!(answer(&mut sqlite, submit(&format!("r{key}"), key)), Submitted::New);
                assert_eq!(answer(&mut sqlite, submit("c", 1)), first());
            }
            sqlite.close();
            sqlite = started(folder.path());
            assert_eq!(answer(&mut sqlite, submit("c", 1)), first());
            sqlite.close();
        }
    }

    /// SQLite reports an error for commits that did take place, also in the middle of a filing. Most requests have no key.
    #[test]
    fn an_unknown_commit_and_rare_keys_lose_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let mut sqlite = started(folder.path());
        let mut keyed = vec![];
        for at in 0..60 {
            let key = (at % 5 == 0).then_some(at);
            keyed.extend(key);
            sqlite.apply(&[submit(&format!("r{at}"), key)], now()).unwrap();
            if at % 3 == 0 {
                sqlite.start.commits -= 1;
                assert!(sqlite.committed().unwrap());
            }
            for key in &keyed {
                let first = RequestId::stored(&format!("r{key}"));
                assert_eq!(answer(&mut sqlite, submit("again", *key)), Submitted::Repeated(first), "after {at}");
            }
        }
        assert!(filed(&sqlite) >= 8, "{} are filed", filed(&sqlite));
        sqlite.close();
    }

    #[test]
    pub(crate) fn a_request_that_is_deleted_gives_its_key_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut sqlite = started(folder.path());
        let all: Vec<_> = (0..12).map(|key| submit(&format!("r{key}"), key)).collect();
        sqlite.apply(&all, now()).unwrap();
        // Each batch files a part.
        for _ in 0..12 {
            sqlite.apply(&[], now()).unwrap();
        }
        assert_eq!((filed(&sqlite), sqlite.keys.fresh.keys().len()), (12, 0));
        // The newest ones are in memory only.
        assert_eq!(answer(&mut sqlite, submit("s", 100)), Submitted::New);
        end_and_purge(&mut sqlite, ["r3", "s"]);
        assert_eq!(filed(&sqlite), 11);
        for is_restarted in [false, true] {
            if is_restarted {
                end_and_purge(&mut sqlite, ["t3", "t100"]);
                sqlite.close();
                sqlite = started(folder.path());
            }
            for key in [3, 100] {
                assert_eq!(answer(&mut sqlite, submit(&format!("t{key}"), key)), Submitted::New);
                let first = RequestId::stored(&format!("t{key}"));
                assert_eq!(answer(&mut sqlite, submit("again", key)), Submitted::Repeated(first));
            }
        }
        // The numbers of deleted rows were used again. After one more start, their keys are still known.
        sqlite.close();
        sqlite = started(folder.path());
        assert_eq!(answer(&mut sqlite, submit("again", 100)), Submitted::Repeated(RequestId::stored("t100")));
        sqlite.close();
    }
}

//! A store for tests, with a clock that only the test moves, and short functions that make rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::faults::{Faults, Faulty};
use crate::backend::Opened;
use crate::record::{Attempt, Claim, ClaimedReport, ClaimedRequest, NewReport, NewRequest, Settled, Submitted};
use crate::{Location, OpenError, Options, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::report::{Json, Outcome};
use postback_wire::time::{Clock, Timestamp};
use postback_wire::webhook::{Provenance, Webhook};

pub(super) const ROUTE: &str = "/a";
/// The wall clock's time at the start of each test, in µs since 1970.
pub(super) const START: i64 = 1_795_420_800_000_000;

/// The environment of a test: the clocks, the options and the folder of its store.
pub(super) struct World {
    wall: Arc<AtomicI64>,
    /// The monotonic clock's time, in µs.
    elapsed: Arc<AtomicI64>,
    pub(super) options: Options,
    pub(super) dir: tempfile::TempDir,
}

impl World {
    pub(super) fn memory() -> Self {
        Self::of(|_| Location::Memory { reports: 100_000, bytes: 1 << 30, kept: 10_000 })
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn sqlite() -> Self {
        // The durability `Normal` is enough, because no test checks whether a commit survives a power failure.
        let durability = crate::Durability::Normal;
        Self::of(|dir| Location::Sqlite { path: dir.join("store.db"), durability })
    }

    /// A world with a schema of its own in a server that all tests of this process share.
    #[cfg(feature = "postgres")]
    pub(super) fn postgres() -> Self {
        Self::of(|_| Location::Postgres { url: new_schema() })
    }

    /// Returns the URL of the database of this world.
    #[cfg(feature = "postgres")]
    pub(super) fn database(&self) -> &crate::DatabaseUrl {
        let Location::Postgres { url } = &self.options.place else { panic!("a case for PostgreSQL") };
        url
    }

    fn of(place: impl FnOnce(&std::path::Path) -> Location) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { queue: 50_000, queue_bytes: 1 << 28, ..Options::at(place(dir.path())) };
        Self { wall: Arc::new(AtomicI64::new(START)), elapsed: Arc::default(), options, dir }
    }

    pub(super) fn clock(&self) -> Clock {
        let (wall, elapsed) = (self.wall.clone(), self.elapsed.clone());
        let wall = move || Timestamp::from_micros(wall.load(Ordering::SeqCst));
        Clock::new(wall, move || Duration::from_micros(elapsed.load(Ordering::SeqCst).unsigned_abs()))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub(super) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap();
        self.wall.fetch_add(by, Ordering::SeqCst);
        self.elapsed.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock forward by `seconds`, or back if `seconds` is negative. The monotonic clock stays the same.
    pub(super) fn jump(&self, seconds: i64) {
        self.wall.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(super) async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    pub(super) async fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(self.options.clone(), NodeId::generate(), self.clock()).await
    }

    /// Opens a store with a faulty backend. The backend fails or waits as the test requests through the returned
    /// `Faults`.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(clippy::unused_async, reason = "memory has nothing to wait for")
    )]
    pub(super) async fn open_faulty(&self) -> (Store, Arc<Faults>) {
        let (opened, quotas) = match &self.options.place {
            Location::Memory { reports, bytes, kept } => {
                let (opened, quotas) = crate::memory::open(*reports, *bytes, *kept);
                (opened, Some(quotas))
            }
            #[cfg(feature = "sqlite")]
            Location::Sqlite { path, durability } => {
                let node = NodeId::generate();
                (crate::sqlite::open(path, *durability, false, node, &self.clock()).await.unwrap(), None)
            }
            #[cfg(feature = "postgres")]
            Location::Postgres { url } => {
                (crate::postgres::open(url, NodeId::generate(), &self.clock()).await.unwrap(), None)
            }
        };
        let faults = Arc::new(Faults::default());
        let backend = Box::new(Faulty::new(opened.backend, faults.clone()));
        let store = Store::start(Opened { backend, ..opened }, &self.options, quotas, None, self.clock());
        (store, faults)
    }

    pub(super) fn request(&self, id: &str) -> NewRequest {
        NewRequest::new(RequestId::stored(id), ROUTE, "{}", self.now())
    }

    pub(super) fn report(&self, subject: &str) -> NewReport {
        let webhook = Webhook::new("https://example.com/hooks").unwrap().chosen_by(Some(Provenance::Operator));
        NewReport::to(webhook, subject, Bytes::from_static(b"{\"id\":\"x\"}"), self.now())
    }

    pub(super) fn done(&self) -> Outcome {
        Outcome::completed(Some(Json::stored(&b"42"[..])), self.now())
    }

    pub(super) fn attempt(&self, status: u16) -> Attempt {
        Attempt {
            started: self.now(),
            took: Duration::from_millis(8),
            status: Some(status),
            error: None,
            response: Bytes::from_static(b"ok"),
        }
    }
}

/// Returns the URL of a new schema in a PostgreSQL server that all tests of this process share.
#[cfg(feature = "postgres")]
pub(crate) fn new_schema() -> crate::DatabaseUrl {
    use std::sync::LazyLock;
    use std::sync::atomic::AtomicU32;

    use super::server::Server;

    static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start().unwrap());
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    SERVER.url(&format!("schema_{}", SCHEMAS.fetch_add(1, Ordering::SeqCst))).parse().unwrap()
}

/// Attaches the route to the store, but with a semaphore that has no permits. So the store pre-claims no request, and
/// the test must claim each request.
pub(super) fn attach(store: &Store) {
    drop(store.attach_requests(vec![ROUTE.into()], Arc::new(Semaphore::new(0))));
}

pub(super) async fn submit(store: &Store, request: NewRequest) {
    assert_eq!(store.submit(request).await.unwrap(), Submitted::New);
}

/// Submits a request and claims it.
pub(super) async fn running(world: &World, store: &Store, id: &str) -> ClaimedRequest {
    attach(store);
    submit(store, world.request(id)).await;
    let mut rows = store.claim_requests(1).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

/// Posts a report and claims it.
pub(super) async fn delivering(store: &Store, report: NewReport) -> ClaimedReport {
    store.post_durably(vec![report]).await.unwrap();
    let mut rows = store.claim_reports(1).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

pub(super) fn id(text: &str) -> RequestId {
    RequestId::stored(text)
}

/// Returns a stale claim of the same row. The epoch of the stale claim is one lower.
pub(super) fn stale<I: Clone>(claim: &Claim<I>) -> Claim<I> {
    Claim { id: claim.id.clone(), epoch: claim.epoch - 1 }
}

pub(super) fn current(settled: Result<Settled, crate::Error>) {
    assert_eq!(settled.unwrap(), Settled::Current);
}

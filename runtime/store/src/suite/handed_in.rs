//! What transactions of the program hand in.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::faults::Fault;
use super::world::{ROUTE, World, attach, current, id};
use crate::handed_in::HandInCounts;
use crate::record::{NewReport, NewRequest, RequestState};
use crate::shutdown::Shutdown;
use crate::taking::{HandIn, run};
use crate::{Cancelled, Error, Location, Stage, Store};
use postback_wire::id::RequestId;
use postback_wire::report::Outcome;

/// A connection of the program's own, to the database of the store.
enum Program {
    #[cfg(feature = "sqlite")]
    Sqlite(rusqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::PgConnection>),
}

impl Program {
    async fn connect(world: &World) -> Self {
        match &world.options.place {
            Location::Memory { .. } => panic!("nothing is handed in to memory"),
            #[cfg(feature = "sqlite")]
            Location::Sqlite { path, .. } => Self::Sqlite(rusqlite::Connection::open(path).unwrap()),
            #[cfg(feature = "postgres")]
            Location::Postgres { url } => {
                let options: sqlx::postgres::PgConnectOptions = url.reveal().parse().unwrap();
                // The program uses another schema than the store.
                let options = sqlx::ConnectOptions::connect(&options.options([("search_path", "public")])).await;
                Self::Postgres(Box::new(options.unwrap()))
            }
        }
    }

    async fn execute(&mut self, sql: &str) {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(conn) => conn.execute_batch(sql).unwrap(),
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut **conn).await.unwrap();
            }
        }
    }

    /// Hands something in, in the transaction that is open or in one of its own. Returns whether the table took it.
    async fn try_hand_in(&mut self, store: &Store, HandIn { id, content }: &HandIn) -> bool {
        let statement = store.hand_in_statement().unwrap();
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(conn) => conn.execute(statement, (id, content)).is_ok(),
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => {
                let insert = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).bind(content);
                insert.execute(&mut **conn).await.is_ok()
            }
        }
    }

    async fn hand_in(&mut self, store: &Store, hand_in: &HandIn) {
        assert!(self.try_hand_in(store, hand_in).await);
    }
}

fn request(world: &World, route: &str) -> (RequestId, HandIn) {
    let id = RequestId::generate();
    let request = NewRequest::new(id.clone(), route, "{}", world.now());
    (id, HandIn::request(&request).unwrap())
}

fn reports(world: &World, subject: &str, n: usize) -> HandIn {
    let reports: Vec<NewReport> = (0..n).map(|_| world.report(subject)).collect();
    HandIn::reports(&reports).unwrap().unwrap()
}

/// Looks once. Returns whether all that was found had room.
async fn look(store: &Store) -> bool {
    store.look(&mut String::new()).await.unwrap()
}

async fn waiting(store: &Store) -> u64 {
    store.hand_in_counts().await.unwrap().waiting
}

async fn is_queued(store: &Store, id: &RequestId) -> bool {
    store.request(id).await.unwrap().is_some_and(|request| request.state == RequestState::Queued)
}

pub(super) async fn what_a_transaction_hands_in_is_kept_or_undone_with_it(world: World) {
    let store = world.open().await;
    attach(&store);
    let mut program = Program::connect(&world).await;
    let ((kept, hand_in), report) = (request(&world, ROUTE), reports(&world, "order", 2));
    program.execute("BEGIN").await;
    program.hand_in(&store, &hand_in).await;
    program.hand_in(&store, &report).await;
    // Nobody sees what is not committed.
    assert!(look(&store).await);
    assert_eq!((waiting(&store).await, is_queued(&store, &kept).await), (0, false));
    program.execute("COMMIT").await;
    assert_eq!(waiting(&store).await, 2);
    assert!(look(&store).await);
    assert_eq!((waiting(&store).await, is_queued(&store, &kept).await), (0, true));
    let deliveries = store.deliveries("order").await.unwrap();
    assert_eq!((deliveries.len(), &deliveries[0].id.to_string()), (2, &report.id));
    assert_eq!(store.backlog().count().rows, 1);

    // The program did not learn that its transaction was committed, and makes it again.
    program.hand_in(&store, &hand_in).await;
    program.hand_in(&store, &report).await;
    assert!(look(&store).await);
    assert_eq!(store.hand_in_counts().await.unwrap(), HandInCounts::default());
    assert_eq!(store.deliveries("order").await.unwrap().len(), 2);
    assert_eq!(store.backlog().count().rows, 1);

    let ((undone, hand_in), report) = (request(&world, ROUTE), reports(&world, "undone", 1));
    program.execute("BEGIN").await;
    program.hand_in(&store, &hand_in).await;
    program.hand_in(&store, &report).await;
    program.execute("ROLLBACK").await;
    assert!(look(&store).await);
    assert!(store.summary(&undone).await.unwrap().is_none());
    assert!(store.deliveries("undone").await.unwrap().is_empty());
}

pub(super) async fn what_was_handed_in_is_taken_after_a_restart(world: World) {
    let store = world.open().await;
    let mut program = Program::connect(&world).await;
    let (kept, hand_in) = request(&world, ROUTE);
    program.hand_in(&store, &hand_in).await;
    program.hand_in(&store, &reports(&world, "order", 1)).await;
    store.close().await;
    let store = world.open().await;
    assert!(look(&store).await);
    assert!(is_queued(&store, &kept).await);
    assert_eq!(store.deliveries("order").await.unwrap().len(), 1);
}

pub(super) async fn of_all_who_look_one_takes_it(world: World) {
    let store = world.open().await;
    attach(&store);
    // In PostgreSQL, the second is another node.
    let is_shared = store.is_shared();
    let other = if is_shared { world.open().await } else { store.clone() };
    let mut program = Program::connect(&world).await;
    let mut ids = Vec::new();
    program.execute("BEGIN").await;
    for _ in 0..50 {
        let (id, hand_in) = request(&world, ROUTE);
        program.hand_in(&store, &hand_in).await;
        program.hand_in(&store, &reports(&world, "order", 1)).await;
        ids.push(id);
    }
    program.execute("COMMIT").await;
    while waiting(&store).await > 0 {
        tokio::join!(look(&store), look(&other), look(&store), look(&other));
    }
    for id in ids {
        assert!(is_queued(&store, &id).await);
    }
    assert_eq!(store.counts().await.unwrap().queued[ROUTE], 50);
    let claimed = store.claim_reports(1_000).await.unwrap().rows.len();
    assert_eq!(claimed, 50, "each report was written once");
}

pub(super) async fn a_commit_with_unknown_outcome_takes_it_once(world: World) {
    let (store, faults) = world.open_faulty().await;
    let mut program = Program::connect(&world).await;
    for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
        let (kept, hand_in) = request(&world, ROUTE);
        program.hand_in(&store, &hand_in).await;
        faults.next(fault);
        assert!(look(&store).await);
        program.hand_in(&store, &reports(&world, kept.as_str(), 1)).await;
        faults.next(fault);
        assert!(look(&store).await);
        assert_eq!(waiting(&store).await, 0);
        assert_eq!(store.deliveries(kept.as_str()).await.unwrap().len(), 1);
        assert!(is_queued(&store, &kept).await);
    }
}

pub(super) async fn what_cannot_be_taken_is_set_aside_and_holds_up_nothing(world: World) {
    let store = world.open().await;
    let mut program = Program::connect(&world).await;
    let not_ours = HandIn { id: "0".to_owned(), content: b"\0\xff\n".to_vec() };
    program.hand_in(&store, &not_ours).await;
    let (kept, hand_in) = request(&world, ROUTE);
    program.hand_in(&store, &hand_in).await;
    assert!(look(&store).await);
    assert!(is_queued(&store, &kept).await);
    assert_eq!(store.hand_in_counts().await.unwrap(), HandInCounts { waiting: 0, set_aside: 1 });
    assert!(store.summary(&id("0")).await.unwrap().is_none());

    // Once the operator has removed what is wrong, the row is looked at again.
    let into = store.hand_in_statement().unwrap().trim_start_matches("INSERT INTO ");
    let table = into.split(' ').next().unwrap();
    program.execute(&format!("UPDATE {table} SET problem = NULL")).await;
    assert_eq!(store.hand_in_counts().await.unwrap(), HandInCounts { waiting: 1, set_aside: 0 });
    assert!(look(&store).await);
    assert_eq!(store.hand_in_counts().await.unwrap(), HandInCounts { waiting: 0, set_aside: 1 });
}

pub(super) async fn what_finds_no_room_waits_and_holds_up_no_other_route(world: World) {
    let store = world.open().await;
    attach(&store);
    store.limit_routes([(ROUTE.to_owned(), 1, u64::MAX)]);
    let mut program = Program::connect(&world).await;
    let all: Vec<_> = [ROUTE, ROUTE, "/other"].map(|route| request(&world, route)).into();
    for (_, hand_in) in &all {
        program.hand_in(&store, hand_in).await;
    }
    assert!(!look(&store).await);
    assert_eq!(waiting(&store).await, 1);
    assert!(is_queued(&store, &all[2].0).await);
    // A caller finds also the request that waits for room.
    for (id, _) in &all {
        assert!(matches!(store.summary(id).await.unwrap().unwrap().stage, Stage::Queued));
    }
    let left = if is_queued(&store, &all[0].0).await { &all[1].0 } else { &all[0].0 };
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    assert!(matches!(store.cancel(left, ROUTE, None, end).await, Err(Error::Full)));
    assert_eq!(store.cancel(left, "/other", None, end).await.unwrap(), Cancelled::Unknown);
    let claimed = store.claim_requests(1).await.unwrap().rows.remove(0).claim;
    current(store.settle_request(claimed, world.done(), vec![]).await);
    assert!(look(&store).await);
    assert_eq!(waiting(&store).await, 0);
}

pub(super) async fn many_and_large_rows_are_taken(world: World) {
    let store = world.open().await;
    let mut program = Program::connect(&world).await;
    program.execute("BEGIN").await;
    for n in 0..210 {
        let body = if n % 70 == 0 { vec![b' '; 5 << 20] } else { Vec::new() };
        let request = NewRequest::new(RequestId::generate(), ROUTE, body, world.now());
        program.hand_in(&store, &HandIn::request(&request).unwrap()).await;
    }
    program.execute("COMMIT").await;
    assert!(look(&store).await);
    assert_eq!((waiting(&store).await, store.counts().await.unwrap().queued[ROUTE]), (0, 210));
}

pub(super) async fn a_request_is_found_and_cancelled_before_it_is_taken(world: World) {
    let store = world.open().await;
    let mut program = Program::connect(&world).await;
    let (found, hand_in) = request(&world, ROUTE);
    program.hand_in(&store, &hand_in).await;
    let summary = store.summary(&found).await.unwrap().unwrap();
    assert_eq!((&*summary.route, waiting(&store).await), (ROUTE, 0));

    let (cancelled, hand_in) = request(&world, ROUTE);
    program.hand_in(&store, &hand_in).await;
    let end = |_, _| (Outcome::cancelled(world.now()), vec![]);
    assert!(matches!(store.cancel(&cancelled, ROUTE, None, end).await.unwrap(), Cancelled::AtOnce(_)));

    // The id of a report is no id of a request.
    let report = reports(&world, "order", 1);
    program.hand_in(&store, &report).await;
    assert!(store.summary(&id(&report.id)).await.unwrap().is_none());
    assert_eq!(waiting(&store).await, 1);
}

pub(super) async fn the_task_takes_what_it_is_told_of(world: World) {
    let store = world.open().await;
    let mut requests = store.attach_requests(vec![ROUTE.into()], Arc::new(Semaphore::new(9)));
    let mut given = store.attach_reports(Arc::new(Semaphore::new(9)));
    let stop = Shutdown::new();
    stop.spawn(run(store.clone(), stop.clone()));
    let mut program = Program::connect(&world).await;
    for _ in 0..2 {
        let ((kept, hand_in), report) = (request(&world, ROUTE), reports(&world, "order", 1));
        program.execute("BEGIN").await;
        program.hand_in(&store, &hand_in).await;
        program.hand_in(&store, &report).await;
        program.execute("COMMIT").await;
        store.look_for_hand_ins();
        // The request and the report are handed over in memory, as those of an ordinary call.
        let (request, report) = tokio::join!(requests.recv(), given.recv());
        assert_eq!(request.unwrap().row.claim.id, kept);
        assert_eq!(&*report.unwrap().row.subject, "order");
    }
    stop.stop();
    stop.finished().await;
}

pub(super) async fn the_table_refuses_what_is_no_row_of_it(world: World) {
    let store = world.open().await;
    let mut program = Program::connect(&world).await;
    let good = request(&world, ROUTE).1;
    for bad in ["", "two words", "é", &"x".repeat(129)] {
        assert!(!program.try_hand_in(&store, &HandIn { id: bad.to_owned(), ..good.clone() }).await, "{bad}");
    }
    program.hand_in(&store, &good).await;
    assert!(!program.try_hand_in(&store, &good).await, "an id is handed in once");
    assert_eq!(waiting(&store).await, 1);
}

//! Tests of the whole delivery, with an in-memory store and real sockets.

mod isolation;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::task::JoinHandle;
use url::Url;

use super::receiver::{OK, Receiver};
use super::*;
use crate::policy::destination::Destination;
use postback_store::{self as store, DeliveryRecord, DeliveryState, Location, NewReport};
use postback_wire::id::NodeId;
use postback_wire::webhook::{Provenance, Target};

mod directives;

const BODY: &[u8] = br#"{"id":"a","status":"completed"}"#;

/// A running delivery that trusts one receiver, and its store.
struct Running {
    store: Store,
    shutdown: Shutdown,
    ended: JoinHandle<()>,
    control: Control,
}

impl Running {
    /// Starts a delivery with this schedule, in milliseconds. The delivery trusts this receiver.
    async fn trusting(receiver: &Receiver, schedule: &[u64]) -> Self {
        Self::with(options(receiver, schedule)).await
    }

    async fn with(options: Options) -> Self {
        let place = Location::Memory { reports: 10_000, bytes: 1 << 24, kept: 1_000 };
        let store_options = store::Options { queue: 10_000, queue_bytes: 1 << 24, ..store::Options::at(place) };
        let store = Store::open(store_options, NodeId::generate(), Clock::system()).await.unwrap();
        Self::over(store, options)
    }

    fn over(store: Store, options: Options) -> Self {
        let shutdown = Shutdown::new();
        let delivery = Delivery::new(store.clone(), Clock::system(), options).unwrap();
        let control = delivery.control();
        let ended = shutdown.spawn(delivery.run(shutdown.clone()));
        Self { store, shutdown, ended, control }
    }

    async fn post(&self, subject: &str, url: &str) {
        self.store.post_durably(vec![report(subject, url)]).await.unwrap();
    }

    /// Waits until the delivery of this report is in this state, and returns the record of the delivery.
    async fn is(&self, subject: &str, state: DeliveryState) -> DeliveryRecord {
        self.reaches(subject, |record| record.state == state).await
    }

    async fn reaches(&self, subject: &str, reached: impl Fn(&DeliveryRecord) -> bool) -> DeliveryRecord {
        let come = async {
            loop {
                if let [record] = &self.store.deliveries(subject).await.unwrap()[..]
                    && reached(record)
                {
                    return record.clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), come).await.expect("the state was not reached in time")
    }

    /// Waits until the first attempt of this report has failed and a retry is planned. Returns the record of the
    /// delivery.
    async fn attempted(&self, subject: &str) -> DeliveryRecord {
        self.reaches(subject, |record| record.state == DeliveryState::Pending && record.last.is_some()).await
    }

    async fn is_held(&self, subject: &str) {
        self.reaches(subject, |record| record.state == DeliveryState::Pending && record.next_due.is_none()).await;
    }

    async fn stop(self) -> Store {
        self.shutdown.stop();
        tokio::time::timeout(Duration::from_mins(1), self.ended).await.expect("did not end in time").unwrap();
        self.shutdown.finished().await;
        self.store
    }
}

fn options(receiver: &Receiver, schedule: &[u64]) -> Options {
    let steps = schedule.iter().copied().map(Duration::from_millis).collect();
    let trusted =
        Destination { url: Url::parse(&receiver.url()).unwrap(), secrets: vec![], private: true, format: None };
    Options {
        schedule: Schedule::new(steps).unwrap(),
        timeout: Duration::from_secs(5),
        destinations: Destinations::new(vec![trusted], &[]),
        ..Options::default()
    }
}

fn report(subject: &str, url: &str) -> NewReport {
    let to = Target::parse(url).or_chosen_by(Provenance::Operator);
    NewReport::to(to, subject, Bytes::from_static(BODY), Clock::system().now())
}

#[tokio::test]
async fn a_posted_report_is_delivered_once() {
    let receiver = Receiver::answering(OK);
    let running = Running::trusting(&receiver, &[0]).await;
    running.post("a", &receiver.url()).await;
    let record = running.is("a", DeliveryState::Delivered).await;
    assert_eq!((record.attempts, record.last.unwrap().status), (1, Some(204)));
    let [request] = &receiver.requests()[..] else { panic!("one request") };
    assert_eq!(request.header("webhook-id").unwrap(), record.id.to_string());
    running.stop().await;
}

#[tokio::test]
async fn a_failed_report_is_retried_under_the_same_id_with_the_same_bytes() {
    let attempts = AtomicUsize::new(0);
    let receiver = Receiver::new(move |_, out| match attempts.fetch_add(1, Ordering::SeqCst) {
        0 => out.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"),
        _ => out.write_all(OK.as_bytes()),
    });
    let running = Running::trusting(&receiver, &[0, 50]).await;
    running.post("a", &receiver.url()).await;
    assert_eq!(running.is("a", DeliveryState::Delivered).await.attempts, 2);
    let [first, second] = &receiver.requests()[..] else { panic!("two requests") };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!((&first.body[..], &second.body[..]), (BODY, BODY));
    running.stop().await;
}

#[tokio::test]
async fn a_report_is_given_up_when_the_schedule_is_over() {
    let receiver = Receiver::answering("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n");
    let running = Running::trusting(&receiver, &[0, 10, 10]).await;
    running.post("a", &receiver.url()).await;
    let record = running.is("a", DeliveryState::Dead).await;
    assert_eq!((record.attempts, record.last.unwrap().error.unwrap().as_str()), (3, "answered 500"));
    assert_eq!(receiver.requests().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn what_may_not_go_there_is_refused_and_never_sent() {
    let (trusted, other) = (Receiver::answering(OK), Receiver::answering(OK));
    let running = Running::trusting(&trusted, &[0, 10]).await;
    running.post("loopback", &other.url()).await;
    running.post("nonsense", "nonsense").await;
    let record = running.is("loopback", DeliveryState::Refused).await;
    assert!(record.last.unwrap().error.unwrap().contains("delivery.allow_networks"));
    running.is("nonsense", DeliveryState::Refused).await;
    assert!(other.requests().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_slow_receiver_does_not_keep_the_others_waiting() {
    let slow = Receiver::new(|_, _| Ok(()));
    let fast = Receiver::answering(OK);
    let mut options = options(&fast, &[0]);
    options.timeout = Duration::from_hours(1);
    options.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let running = Running::with(options).await;
    running.post("slow", &slow.url()).await;
    slow.received(1).await;
    running.post("fast", &fast.url()).await;
    running.is("fast", DeliveryState::Delivered).await;
    running.is("slow", DeliveryState::Delivering).await;
    running.shutdown.stop();
}

#[tokio::test]
async fn stopping_ends_what_is_in_flight_and_puts_back_the_rest_which_the_next_delivery_takes_up() {
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let receiver = Receiver::new(move |_, out| {
        // `recv` waits until the test drops the sender. From then on, the receiver answers all requests without a
        // delay.
        let _ = wait.lock().unwrap().recv();
        out.write_all(OK.as_bytes())
    });
    let running = Running::with(Options { concurrency: 1, ..options(&receiver, &[0, 50]) }).await;
    for subject in ["a", "b", "c"] {
        running.post(subject, &receiver.url()).await;
    }
    receiver.received(1).await;
    running.shutdown.stop();
    // The test runs on one thread. `yield_now` lets all other tasks run, so that they learn that the shutdown has
    // begun.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!running.ended.is_finished(), "an attempt is in flight");
    drop(go);
    let store = running.stop().await;
    let states = async |subject: &str| store.deliveries(subject).await.unwrap().remove(0);
    assert_eq!(states("a").await.state, DeliveryState::Delivered);
    for subject in ["b", "c"] {
        let record = states(subject).await;
        assert_eq!((record.state, record.attempts), (DeliveryState::Pending, 0), "{subject}");
    }

    let running = Running::over(store, options(&receiver, &[0, 50]));
    for subject in ["b", "c"] {
        assert_eq!(running.is(subject, DeliveryState::Delivered).await.attempts, 1);
    }
    running.stop().await;
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test]
async fn a_backlog_that_exceeds_memory_is_delivered_all_the_same() {
    let receiver = Receiver::answering(OK);
    let running = Running::with(Options { concurrency: 8, ..options(&receiver, &[0, 1_000]) }).await;
    let reports: Vec<_> = (0..3_000).map(|_| report("many", &receiver.url())).collect();
    running.store.post_durably(reports).await.unwrap();
    receiver.received(3_000).await;
    let store = running.stop().await;
    assert_eq!(store.counts().await.unwrap().undelivered, 0);
    assert_eq!(receiver.requests().len(), 3_000);
}

#[tokio::test]
async fn a_delivery_may_be_stopped_before_it_starts_twice_and_after_its_store() {
    let receiver = Receiver::answering(OK);
    let running = Running::trusting(&receiver, &[0]).await;
    running.shutdown.stop();
    let store = running.stop().await;

    let running = Running::over(store, options(&receiver, &[0]));
    running.store.close().await;
    running.stop().await;
}

/// A resolver that gives this answer for every name.
#[derive(Debug)]
struct Says(std::io::Result<std::net::IpAddr>);

impl Lookup for Says {
    fn lookup(
        &self,
        _: &str,
    ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<std::net::IpAddr>>> + Send>> {
        let answer = match &self.0 {
            Ok(address) => Ok(vec![*address]),
            Err(error) => Err(match error.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::other(error.to_string()),
            }),
        };
        Box::pin(async move { answer })
    }
}

#[tokio::test]
async fn a_name_of_a_private_address_fares_like_one_that_leads_nowhere_and_the_record_tells_the_operator() {
    let receiver = Receiver::answering(OK);
    let private = Says(Ok("10.1.2.3".parse().unwrap()));
    let nowhere = Says(Err(std::io::Error::other("Name or service not known")));
    let mut seen = Vec::new();
    for (resolver, told) in [(private, "10.1.2.3"), (nowhere, "cannot resolve")] {
        let resolver = Arc::new(resolver);
        let running = Running::with(Options { resolver, ..options(&receiver, &[0, 20, 600_000]) }).await;
        running.post("a", "http://hooks.test/in").await;
        let waits = |record: &DeliveryRecord| record.attempts == 2 && record.state == DeliveryState::Pending;
        let record = running.reaches("a", waits).await;
        let last = record.last.unwrap();
        assert!(last.error.as_ref().unwrap().contains(told), "{last:?}");
        seen.push((record.state, record.attempts, record.next_due.is_some(), last.status, record.refused));
        running.stop().await;
    }
    assert_eq!(seen[0], seen[1]);
    assert!(receiver.requests().is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_report_that_cannot_be_attempted_for_want_of_files_loses_no_attempt() {
    let receiver = Receiver::answering(OK);
    let short = Says(Err(std::io::Error::from_raw_os_error(24)));
    let running = Running::with(Options { resolver: Arc::new(short), ..options(&receiver, &[0]) }).await;
    running.post("a", "http://hooks.test/in").await;
    // This process can open no more files, so no attempt is made, and the report becomes due some seconds after this
    // time.
    let posted = Clock::system().now();
    let record = running
        .reaches("a", |record| record.next_due.is_some_and(|due| due.since(posted) > Duration::from_secs(3)))
        .await;
    assert_eq!((record.state, record.attempts, record.last.is_none()), (DeliveryState::Pending, 0, true));
    running.stop().await;
}

#[tokio::test]
async fn who_asks_a_delivery_that_stops_does_not_wait_for_its_attempts() {
    let (answer, answered) = std::sync::mpsc::sync_channel::<()>(1);
    let answered = std::sync::Mutex::new(answered);
    let receiver = Receiver::new(move |_, out| {
        let _ = answered.lock().unwrap().recv();
        out.write_all(OK.as_bytes())
    });
    let running = Running::with(Options { timeout: Duration::from_mins(10), ..options(&receiver, &[0]) }).await;
    running.post("a", &receiver.url()).await;
    receiver.received(1).await;
    running.shutdown.stop();
    // The loop may still answer the first questions.
    for _ in 0..10 {
        let circuits = tokio::time::timeout(Duration::from_mins(1), running.control.circuits()).await;
        assert!(circuits.expect("it waits for the attempt").is_empty());
    }
    assert!(!running.ended.is_finished(), "the attempt is in flight");
    answer.send(()).unwrap();
    let store = running.stop().await;
    assert_eq!(store.deliveries("a").await.unwrap()[0].state, DeliveryState::Delivered);
}

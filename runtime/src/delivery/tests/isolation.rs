//! Tests that origins which hang or fail delay no other origin and lose no report.

use std::sync::atomic::AtomicBool;

use super::*;

/// Starts a receiver that does not answer until the returned flag is true.
fn gated() -> (Receiver, Arc<AtomicBool>) {
    let open = Arc::<AtomicBool>::default();
    let is_open = open.clone();
    let receiver = Receiver::new(move |_, out| {
        while !is_open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        out.write_all(OK.as_bytes())
    });
    (receiver, open)
}

fn options_for_all(schedule: &[u64]) -> Options {
    let receiver = Receiver::answering(OK);
    Options {
        concurrency: 8,
        backlog: 1_024,
        per_origin: 4,
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..options(&receiver, schedule)
    }
}

async fn post_many(running: &Running, subject: &str, receiver: &Receiver, n: usize) {
    let reports = (0..n).map(|_| report(subject, &receiver.url())).collect();
    running.store.post_durably(reports).await.unwrap();
}

async fn eventually(mut reached: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reached).await.expect("not reached in time");
}

async fn all_delivered(running: &Running) {
    eventually(async || running.store.counts().await.unwrap().undelivered == 0).await;
}

#[tokio::test]
async fn an_origin_that_never_answers_holds_up_no_other_and_its_backlog_waits_in_the_store() {
    let ((hanging, open), fast) = (gated(), Receiver::answering(OK));
    let running = Running::with(Options { timeout: Duration::from_hours(1), ..options_for_all(&[0]) }).await;
    post_many(&running, "hanging", &hanging, 600).await;
    hanging.received(1).await;
    eventually(async || running.store.parked_origins().await.unwrap().len() == 1).await;

    post_many(&running, "fast", &fast, 20).await;
    fast.received(20).await;
    assert!(hanging.requests().len() <= 4);

    open.store(true, Ordering::SeqCst);
    all_delivered(&running).await;
    assert_eq!((hanging.requests().len(), fast.requests().len()), (600, 20));
    running.stop().await;
}

#[tokio::test]
async fn an_origin_that_fails_has_its_circuit_opened_and_is_attempted_again_and_nothing_is_dropped_or_counted_wrongly()
{
    const FAILS: usize = 10;
    let attempts = AtomicUsize::new(0);
    let receiver = Receiver::new(move |_, out| match attempts.fetch_add(1, Ordering::SeqCst) {
        ..FAILS => out.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"),
        _ => out.write_all(OK.as_bytes()),
    });
    let running = Running::with(options_for_all(&[0, 10, 10, 10, 10, 10, 10, 10, 10, 10])).await;
    post_many(&running, "open", &receiver, 60).await;
    eventually(async || running.store.parked_origins().await.unwrap().len() == 1).await;
    all_delivered(&running).await;
    let records = running.store.deliveries("open").await.unwrap();
    assert!(records.iter().all(|record| record.state == DeliveryState::Delivered), "{records:?}");
    let attempts: u32 = records.iter().map(|record| record.attempts).sum();
    assert_eq!((records.len(), attempts), (60, 70));
    assert_eq!(receiver.requests().len(), 70);
    running.stop().await;
}

#[tokio::test]
async fn a_path_that_fails_holds_up_no_other_path_of_its_host() {
    let host = Receiver::new(|request, out| match request.line.as_str() {
        "POST /good HTTP/1.1" => out.write_all(OK.as_bytes()),
        _ => out.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"),
    });
    let at = |path: &str| format!("http://127.0.0.1:{}/{path}", host.port());
    // With this schedule, a failed report is retried many times with short pauses.
    let running = Running::with(options_for_all(&[&[0][..], &[10; 50]].concat())).await;
    // URLs that differ only in their query share one circuit.
    let bad = (0..200).map(|n| report("bad", &at(&format!("bad?n={n}")))).collect();
    running.store.post_durably(bad).await.unwrap();
    for _ in 0..50 {
        running.store.post_durably(vec![report("good", &at("good"))]).await.unwrap();
    }
    eventually(async || {
        let records = running.store.deliveries("good").await.unwrap();
        records.len() == 50 && records.iter().all(|record| record.state == DeliveryState::Delivered)
    })
    .await;
    let parked = running.store.parked_origins().await.unwrap();
    assert_eq!(parked, [at("bad")], "under the URL alone");
    let failed = host.requests().iter().filter(|request| request.line.contains("/bad")).count();
    assert!(failed < 40, "{failed} attempts at the failing URL");
    running.stop().await;
}

#[tokio::test]
async fn parked_reports_are_taken_up_by_the_next_delivery() {
    let (receiver, open) = gated();
    let schedule = [&[0][..], &[10; 50]].concat();
    let options = Options { timeout: Duration::from_millis(50), ..options_for_all(&schedule) };
    let running = Running::with(options.clone()).await;
    post_many(&running, "parked", &receiver, 600).await;
    eventually(async || running.store.parked_origins().await.unwrap().len() == 1).await;
    let store = running.stop().await;
    assert_eq!(store.counts().await.unwrap().undelivered, 600);
    assert_eq!(store.parked_origins().await.unwrap().len(), 1);

    open.store(true, Ordering::SeqCst);
    let running = Running::over(store, options);
    all_delivered(&running).await;
    running.stop().await;
}

/// An interim answer. The receiver sends another answer after it.
const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";

/// Starts a receiver that sends 512 KiB of interim answers without a pause, and then further interim answers until the
/// returned flag is true. 512 KiB are half of the bytes that the client reads before a final answer. The returned
/// counter counts the further interim answers.
fn flooding() -> (Receiver, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (open, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let (is_open, count) = (open.clone(), sent.clone());
    let receiver = Receiver::new(move |_, out| {
        out.write_all(&INTERIM.repeat((512 << 10) / INTERIM.len()))?;
        while !is_open.load(Ordering::SeqCst) {
            out.write_all(INTERIM)?;
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
        out.write_all(OK.as_bytes())
    });
    (receiver, open, sent)
}

#[tokio::test]
async fn an_origin_that_floods_with_interim_answers_holds_up_no_other() {
    let ((flood, open, sent), fast) = (flooding(), Receiver::answering(OK));
    let schedule = [&[0][..], &[10; 50]].concat();
    let running = Running::with(Options { timeout: Duration::from_hours(1), ..options_for_all(&schedule) }).await;
    post_many(&running, "flood", &flood, 20).await;
    eventually(async || sent.load(Ordering::SeqCst) > 0).await;
    for _ in 0..3 {
        let before = sent.load(Ordering::SeqCst);
        post_many(&running, "fast", &fast, 20).await;
        eventually(async || {
            let records = running.store.deliveries("fast").await.unwrap();
            records.iter().all(|record| record.state == DeliveryState::Delivered && record.attempts == 1)
        })
        .await;
        eventually(async || sent.load(Ordering::SeqCst) > before).await;
    }
    assert_eq!(fast.requests().len(), 60);
    let flooded = running.store.deliveries("flood").await.unwrap();
    assert!(flooded.iter().all(|record| record.state != DeliveryState::Delivered), "{flooded:?}");
    open.store(true, Ordering::SeqCst);
    all_delivered(&running).await;
    running.stop().await;
}

#[tokio::test]
async fn an_origin_that_is_hung_up_on_for_its_flood_has_its_circuit_opened_like_any_that_fails() {
    let flood = Receiver::new(|_, out| {
        let block = INTERIM.repeat(64);
        loop {
            out.write_all(&block)?;
        }
    });
    let fast = Receiver::answering(OK);
    let running = Running::with(options_for_all(&[0, 10, 600_000])).await;
    post_many(&running, "flood", &flood, 20).await;
    flood.received(1).await;
    post_many(&running, "fast", &fast, 60).await;
    fast.received(60).await;
    eventually(async || running.store.parked_origins().await.unwrap().len() == 1).await;
    let records = running.store.deliveries("flood").await.unwrap();
    let told: Vec<_> = records.iter().filter_map(|record| record.last.as_ref()?.error.as_deref()).collect();
    assert!(
        !told.is_empty() && told.iter().all(|error| *error == "the answer does not begin within 1024 KiB"),
        "{told:?}"
    );
    let fast = running.store.deliveries("fast").await.unwrap();
    assert!(fast.iter().all(|record| record.attempts <= 1), "none was attempted twice");
    running.stop().await;
}

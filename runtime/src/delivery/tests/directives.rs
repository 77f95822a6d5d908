//! Tests of what receivers ask for in their answers, and of names that lead to forbidden addresses.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;

use tracing::Level;

use super::*;
use crate::delivery::log::tests::Lines;
use crate::delivery::receiver::{CA_FILE, http2};

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_wait_is_not_attempted_before() {
    let receiver = Receiver::answering(answer("503 X", "retry-after: 3600\r\n"));
    let running = Running::trusting(&receiver, &[0, 10]).await;
    let posted = Clock::system().now();
    running.post("a", &receiver.url()).await;
    let record = running.attempted("a").await;
    let wait = record.next_due.unwrap().since(posted);
    assert!(wait >= Duration::from_hours(1) && wait < Duration::from_mins(67), "{wait:?}");
    running.stop().await;
}

#[tokio::test]
async fn gone_ends_what_goes_to_this_url_alone_until_it_is_enabled() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_gone = gone.clone();
    let receiver = Receiver::new(move |request, out| {
        let leaves = request.line.starts_with("POST /in/left") && is_gone.load(Ordering::SeqCst);
        out.write_all(if leaves { answer("410 Gone", "") } else { OK.to_owned() }.as_bytes())
    });
    let running = Running::trusting(&receiver, &[0, 10, 10]).await;
    let (left, stays) = (format!("{}/left", receiver.url()), format!("{}/stays", receiver.url()));
    running.post("first", &left).await;
    let record = running.is("first", DeliveryState::Gone).await;
    assert_eq!((record.attempts, record.last.unwrap().status), (1, Some(410)));
    let [disabled] = &running.store.disabled().await.unwrap()[..] else { panic!("one is disabled") };
    assert_eq!(disabled.url, left);
    assert!(disabled.reason.contains("410"), "{}", disabled.reason);

    running.post("held", &left).await;
    running.post("other", &stays).await;
    running.is("other", DeliveryState::Delivered).await;
    running.is_held("held").await;
    assert_eq!(receiver.requests().len(), 2, "a held report is not attempted");

    // A new delivery uses the same store, and the URL is still disabled. The same URL with a query is another URL, and
    // is not disabled.
    let running = Running::over(running.stop().await, options(&receiver, &[0, 10]));
    running.post("query", &format!("{left}?x=1")).await;
    running.is("query", DeliveryState::Gone).await;
    gone.store(false, Ordering::SeqCst);
    running.is_held("held").await;
    assert_eq!(running.store.enable(&left).await.unwrap(), 1);
    assert_eq!(running.is("held", DeliveryState::Delivered).await.attempts, 1);
    running.post("new", &left).await;
    running.is("new", DeliveryState::Delivered).await;
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_may_end_one_report_or_take_it_as_the_last() {
    let receiver = Receiver::new(|request, out| {
        let answer = match request.line.as_str() {
            line if line.contains("/abort") => answer("422 X", "webhook-delivery: abort-message\r\n"),
            line if line.contains("/disable") => answer("500 X", "webhook-delivery: disable\r\n"),
            _ => answer("200 X", "webhook-delivery: disable\r\n"),
        };
        out.write_all(answer.as_bytes())
    });
    let running = Running::trusting(&receiver, &[0, 10]).await;
    let url = |path: &str| format!("{}/{path}", receiver.url());
    for (subject, path, state, disabled) in [
        ("a", "abort", DeliveryState::Gone, false),
        ("b", "abort", DeliveryState::Gone, false),
        ("c", "disable", DeliveryState::Gone, true),
        ("d", "last", DeliveryState::Delivered, true),
    ] {
        running.post(subject, &url(path)).await;
        let record = running.is(subject, state).await;
        assert_eq!((record.attempts, running.store.is_disabled(&url(path))), (1, disabled), "{subject}");
        assert!(record.last.unwrap().error.unwrap().contains("webhook-delivery"), "the record says why");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_redirect_is_in_the_record_with_what_to_do_about_it() {
    let receiver = Receiver::answering(answer("302 X", "location: http://169.254.169.254/\r\n"));
    let running = Running::trusting(&receiver, &[0]).await;
    running.post("a", &receiver.url()).await;
    let record = running.is("a", DeliveryState::Dead).await;
    assert!(record.last.unwrap().error.unwrap().contains("use the final URL"));
    running.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_refused_uses_up_no_attempt_and_is_retried() {
    // The receiver refuses the stream twice in the first attempt, and twice again after a pause.
    let (refusals, ok) = (AtomicUsize::new(4), http::Response::new(()));
    let (port, asked, _server) = http2(move |_, _, mut respond| {
        let refuses = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if refuses {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            drop(respond.send_response(ok.clone(), true).unwrap());
        }
    })
    .await;
    let options = Options {
        ca_file: Some(CA_FILE.into()),
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..options(&Receiver::answering(OK), &[0])
    };
    let running = Running::with(options).await;
    running.post("passes", &format!("https://127.0.0.1:{port}/in")).await;
    let record = running.is("passes", DeliveryState::Delivered).await;
    assert_eq!((record.attempts, record.last.unwrap().status), (1, Some(200)));
    assert_eq!(asked.lock().unwrap().len(), 5);
    running.stop().await;
}

#[tokio::test]
async fn the_line_of_a_report_that_is_given_up_names_the_route_of_its_request() {
    let (lines, _guard) = Lines::on_this_thread();
    let receiver = Receiver::answering(answer("500 X", ""));
    let running = Running::trusting(&receiver, &[0]).await;
    let now = postback_wire::time::Clock::system().now();
    let request = postback_store::NewRequest::new("job-7".parse().unwrap(), "/greet", "{}", now);
    let _ = running.store.submit(request).await.unwrap();
    running.post("job-7", &receiver.url()).await;
    let record = running.is("job-7", DeliveryState::Dead).await;
    running.stop().await;
    let told = lines.with("gave up after 1 attempt");
    let [(Level::ERROR, line)] = &told[..] else { panic!("{told:?}") };
    for part in ["report of job-7", "answered 500", &receiver.url(), "route /greet", &record.webhook_id.to_string()] {
        assert!(line.contains(part), "{line} lacks {part}");
    }
}

/// A resolver that answers each look-up with the next address of a list. After the last address, it repeats that
/// address.
#[derive(Clone, Debug, Default)]
struct Name(Arc<Mutex<VecDeque<&'static str>>>);

impl Name {
    fn leads_to(&self, addresses: &[&'static str]) {
        *self.0.lock().unwrap() = addresses.iter().copied().collect();
    }
}

impl Lookup for Name {
    fn lookup(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let mut left = self.0.lock().unwrap();
        let address = if left.len() > 1 { left.pop_front() } else { left.front().copied() };
        let address: IpAddr = address.unwrap().parse().unwrap();
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test]
async fn a_trusted_url_that_was_disabled_is_attempted_after_a_start_and_enabled_when_it_takes_reports() {
    let answers_gone = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let gone = answers_gone.clone();
    let receiver = Receiver::new(move |_, out| {
        let says = if gone.load(Ordering::SeqCst) { "410 X" } else { "204 X" };
        out.write_all(answer(says, "").as_bytes())
    });
    let running = Running::trusting(&receiver, &[0]).await;
    running.post("first", &receiver.url()).await;
    running.is("first", DeliveryState::Gone).await;
    running.post("second", &receiver.url()).await;
    running.is_held("second").await;
    let running = Running::over(running.stop().await, options(&receiver, &[0]));
    // The held report is sent as a probe, which tests whether the receiver accepts reports again. The receiver still
    // answers 410, so the report stays held.
    receiver.received(2).await;
    running.is_held("second").await;
    running.post("third", &receiver.url()).await;
    running.is_held("third").await;
    answers_gone.store(false, Ordering::SeqCst);
    let running = Running::over(running.stop().await, options(&receiver, &[0]));
    running.is("second", DeliveryState::Delivered).await;
    running.is("third", DeliveryState::Delivered).await;
    assert!(running.store.disabled().await.unwrap().is_empty());
    assert_eq!(receiver.requests().len(), 4);
    running.stop().await;
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_retried_on_the_schedule_and_an_address_is_refused() {
    // The connection is closed after each answer, so each attempt looks up the name again.
    let receiver = Receiver::answering(answer("204 X", "connection: close\r\n"));
    let name = Name::default();
    let running = Running::with(Options {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        resolver: Arc::new(name.clone()),
        ..options(&receiver, &[0, 10, 10])
    })
    .await;
    let url = format!("http://hooks.test:{}/in", receiver.port());
    name.leads_to(&["0.0.0.0"]);
    running.post("never", &url).await;
    let record = running.is("never", DeliveryState::Dead).await;
    assert_eq!(record.attempts, 3);
    assert!(record.last.unwrap().error.unwrap().contains("0.0.0.0"), "the operator is told");

    name.leads_to(&["127.0.0.1", "0.0.0.0", "127.0.0.1"]);
    running.post("good", &url).await;
    running.is("good", DeliveryState::Delivered).await;
    running.post("soon", &url).await;
    assert_eq!(running.is("soon", DeliveryState::Delivered).await.attempts, 2);

    // If the URL itself contains a forbidden address, the report is refused without a retry.
    running.post("literal", "http://169.254.169.254/").await;
    running.is("literal", DeliveryState::Refused).await;
    running.stop().await;
}

#[tokio::test]
async fn of_a_name_that_leads_to_a_forbidden_address_the_log_tells_once_what_would_allow_it() {
    let (lines, _guard) = Lines::on_this_thread();
    let receiver = Receiver::answering(answer("204 X", "connection: close\r\n"));
    let name = Name::default();
    let running = Running::with(Options {
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        resolver: Arc::new(name.clone()),
        ..options(&receiver, &[0, 600_000])
    })
    .await;
    let url = format!("http://hooks.test:{}/in", receiver.port());
    name.leads_to(&["127.0.0.1"]);
    running.post("good", &url).await;
    running.is("good", DeliveryState::Delivered).await;
    name.leads_to(&["10.0.0.7"]);
    for subject in ["one", "two", "three"] {
        running.post(subject, &url).await;
        running.attempted(subject).await;
    }
    // A log line is written only after its report is settled. So the test stops the delivery first: after that, all log
    // lines are written.
    running.stop().await;
    let told = lines.with("10.0.0.7");
    let levels: Vec<_> = told.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::WARN, Level::DEBUG, Level::DEBUG], "{told:?}");
    let first = &told[0].1;
    assert!(first.contains("delivery.allow_networks") && first.contains("; next attempt in 1"), "{first}");
}

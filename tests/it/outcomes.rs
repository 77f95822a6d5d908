//! Each outcome of a request is reported to its webhook, however the request ended.
//!
//! Each row of the table in `runtime/docs/guide/handlers.md` is a test in this file, and each test of `rows!` is a row.

use postback_tests::{Process, Receiver, eventually, eventually_async};
use serde_json::{Value, json};

use crate::support::Server;

const GUIDE: &str = include_str!("../../runtime/docs/guide/handlers.md");
/// The head of the table in the guide.
const HEAD: &str = "| how it ends | reported as | by the attribute, from `Config` | by the attribute, from the request | by `App::webhook` |";
/// The route for each column of the table, with the path of its webhook.
const ROUTES: [(&str, &str); 3] =
    [("/ends/config", "/in"), ("/ends/payload", "/in/payload"), ("/ends/route", "/in/route")];
/// A route whose webhook is in the payload too, but whose attribute calls a function of the program to read it.
const BY_FUNCTION: &str = "/ends/function";
/// The most starts until all requests that end their process have failed.
const MOST_STARTS: usize = 40;

macro_rules! rows {
    ($($name:ident: $text:literal, $status:literal, $end:expr;)*) => {
        const ROWS: &[(&str, &str)] = &[$(($text, $status)),*];

        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            World::start().await.check($status, $end).await;
        })*
    };
}

rows! {
    completed: "the handler returns `Ok`", "completed", By::Itself("completed");
    error: "the handler returns `Err`, in its last run", "failed", By::Itself("error");
    panic: "the handler panics, in its last run", "failed", By::Itself("panic");
    timeout: "it runs longer than `worker.timeout`, in its last run", "failed", By::Timeout;
    unserializable: "its result cannot be serialised", "failed", By::Itself("unserializable");
    old_payload: "its payload does not fit a newer program", "failed", By::OldPayload;
    cancelled_in_the_queue: "it is cancelled while it waits", "cancelled", By::CancelInQueue;
    cancelled_in_a_run: "it is cancelled while it runs", "cancelled", By::CancelInRun;
    late: "it has not begun by its `Postback-Deadline`", "failed", By::Deadline;
    abort: "it aborts its process, until `worker.max_crashes`", "failed", By::Death("abort");
    exit: "it exits its process, until `worker.max_crashes`", "failed", By::Death("exit");
    overflow: "it overflows the stack, until `worker.max_crashes`", "failed", By::Death("overflow");
    memory: "it takes more memory than there is, until `worker.max_crashes`", "failed", By::Death("memory");
    killed: "its process is killed, until `worker.max_crashes`", "failed", By::Kill;
    stopped: "the operator stops the program, and starts it again", "completed", By::Stop;
    route_removed: "its route is taken out of the program, and put back", "completed", By::NoRoute;
}

/// How the test ends the requests of one row.
enum By {
    Itself(&'static str),
    Timeout,
    OldPayload,
    CancelInQueue,
    CancelInRun,
    Deadline,
    Death(&'static str),
    Kill,
    Stop,
    NoRoute,
}

struct World {
    receiver: Receiver,
    server: Server,
    /// The route, the id and the webhook path of each request.
    ids: Vec<(&'static str, String, &'static str)>,
    /// The headers of the requests.
    headers: Vec<(&'static str, &'static str)>,
}

impl World {
    async fn start() -> Self {
        let receiver = Receiver::start();
        let server = Server::start(&settings(&receiver, ""));
        Self { receiver, server, ids: Vec::new(), headers: Vec::new() }
    }

    async fn submit(&mut self, end: &str) {
        for (route, path) in ROUTES.into_iter().chain([(BY_FUNCTION, "/in/payload")]) {
            self.submit_to(route, path, end).await;
        }
    }

    async fn submit_to(&mut self, route: &'static str, path: &'static str, end: &str) {
        let payload = json!({"end": end, "hook": self.receiver.url("/in/payload"), "gate": "gate"});
        let id = self.server.submit_with(route, payload, &self.headers).await;
        self.ids.push((route, id, path));
    }

    /// Submits requests that wait behind another request, because only one request may run.
    async fn submit_behind_another(&mut self, end: &str) {
        self.run_another("").await;
        self.submit(end).await;
    }

    /// Starts a request that occupies the only slot until the gate "first" is open. `more` is text for `[worker]`.
    async fn run_another(&mut self, more: &str) {
        self.server.stop();
        self.configure(&format!("[worker]\nconcurrency = 1\n{more}"));
        self.server.restart();
        let first = self.server.submit("/guarded", json!({"gate": "first"})).await;
        self.server.process.wait_for(&format!("{first} begins"));
    }

    fn configure(&self, more: &str) {
        std::fs::write(self.server.folder.path().join("postback.toml"), settings(&self.receiver, more)).unwrap();
    }

    async fn all_run(&mut self) {
        for (_, id, _) in &self.ids {
            self.server.process.wait_for(&format!("{id} begins"));
        }
    }

    async fn cancel(&self) {
        for (route, id, _) in &self.ids {
            let response = self.server.client.delete(self.server.path(&format!("{route}/{id}"))).send().await.unwrap();
            assert!(response.status().is_success(), "{route}: {}", response.status());
        }
    }

    fn is_reported(&self) -> bool {
        let all = self.receiver.all();
        self.ids.iter().all(|(_, id, _)| all.iter().any(|report| report.json()["id"] == **id))
    }

    /// Starts the program again each time it has ended, until all requests are reported.
    fn restart_until_reported(&mut self) {
        for _ in 0..MOST_STARTS {
            eventually("the end of the process, or a report of each request", || {
                if self.is_reported() || !self.server.process.is_running() { Ok(()) } else { Err("neither") }
            });
            if self.is_reported() {
                return;
            }
            self.server.process = Server::launch(self.server.folder.path());
        }
        panic!("after {MOST_STARTS} starts some requests are not reported: {:?}", self.receiver.all());
    }

    async fn check(mut self, status: &str, by: By) {
        match by {
            By::Itself(end) => self.submit(end).await,
            By::Timeout => {
                self.server.stop();
                self.configure("[worker]\ntimeout = \"1s\"\n");
                self.server.restart();
                self.submit("waits").await;
            }
            By::OldPayload => {
                self.submit_behind_another("completed").await;
                self.server.process.kill();
                self.server.open("strict");
                self.server.open("first");
                self.server.restart();
            }
            By::CancelInQueue => {
                self.submit_behind_another("completed").await;
                self.cancel().await;
            }
            By::CancelInRun => {
                self.submit("waits").await;
                self.all_run().await;
                self.cancel().await;
            }
            By::Deadline => {
                self.headers.push(("postback-deadline", "+1s"));
                self.submit_behind_another("completed").await;
            }
            By::Death(end) => {
                self.submit_behind_another(end).await;
                self.server.open("first");
                self.restart_until_reported();
            }
            By::Kill => {
                self.submit("waits").await;
                self.all_run().await;
                while !self.is_reported() {
                    self.server.process.kill();
                    self.server.restart();
                    eventually_async("a run, or a report of each request", async || {
                        let runs = self.server.process.output().contains("begins");
                        if runs || self.is_reported() { Ok(()) } else { Err(self.server.process.output()) }
                    })
                    .await;
                }
            }
            By::Stop => {
                self.submit("waits").await;
                self.all_run().await;
                self.server.process.interrupt();
                self.server.process.wait_for("a second signal ends them at once");
                self.server.process.interrupt();
                self.server.process.ended();
                self.server.open("gate");
                self.server.restart();
            }
            By::NoRoute => {
                self.submit_behind_another("completed").await;
                self.server.process.kill();
                self.server.open("first");
                self.server.open("without_ends");
                self.server.restart();
                for (route, _, _) in &self.ids {
                    self.server.process.wait_for(&format!("1 requests wait for the route {route}"));
                }
                self.server.stop();
                self.server.close("without_ends");
                self.server.restart();
            }
        }
        for (route, id, path) in &self.ids {
            // This route is not reported after `OldPayload`. Its expression calls a function, so only a run evaluates
            // it, and there is no run, because the payload does not fit.
            if *route == BY_FUNCTION && matches!(by, By::OldPayload) {
                continue;
            }
            let report = self.receiver.wait_for(id);
            assert_eq!((report.path.as_str(), &report.json()["status"]), (*path, &Value::from(status)), "{route}");
        }
    }
}

fn settings(receiver: &Receiver, more: &str) -> String {
    let url = receiver.url("/in");
    format!("[config]\nwebhook_url = {url:?}\n[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n{more}")
}

/// The rows of the guide's table are the tests of `rows!`, and each of its columns says `yes`.
#[test]
fn the_table_of_the_guide_is_the_one_that_is_tested() {
    let rows = GUIDE.lines().skip_while(|line| *line != HEAD).skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<_>> = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let in_guide: Vec<_> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(in_guide, ROWS);
    assert!(rows.iter().all(|row| row[2..] == ["yes"; 3]), "{rows:?}");
}

/// The webhook URL that a caller chooses is checked when the request is submitted. Only the text of the URL is checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_cannot_be_used_is_refused_at_once() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/in"));
    let named = |url: &str| server.client.post(server.path("/named")).json(&json!({"webhook": url}));
    for (url, fault) in [
        ("junk", "the webhook URL cannot be parsed"),
        ("ftp://example.com/in", "the scheme `ftp`"),
        ("https://user:secret@example.com/", "a user name or password"),
        ("https://example.com:0/", "port 0"),
        ("http://a{b.example/", "cannot be looked up"),
        ("http://127.0.0.1/in", "an address that the webhook of a caller may not reach"),
        ("http://2130706433/in", "an address that the webhook of a caller may not reach"),
        ("http://[::ffff:169.254.169.254]/", "an address that the webhook of a caller may not reach"),
    ] {
        let response = named(url).send().await.unwrap();
        assert_eq!(response.status(), 400, "{url}");
        let text = response.text().await.unwrap();
        let begin = "error: the webhook that this request asks for (payload.webhook) cannot be used: ";
        assert!(text.starts_with(begin) && text.contains(fault) && !text.contains("secret@"), "{url}: {text}");
    }
    let problem = named("junk").header("accept", "application/problem+json").send().await.unwrap();
    assert_eq!(problem.json::<Value>().await.unwrap()["status"], 400);
    // Host names are not looked up at this time. So a name that does not exist and a name of this machine are both
    // accepted.
    for url in ["https://nowhere.invalid/in", "http://localhost/in"] {
        assert_eq!(named(url).send().await.unwrap().status(), 200, "{url}");
    }
    let headed = |hook: &str| server.client.post(server.path("/headed")).header("x-hook", hook);
    let response = headed("junk").send().await.unwrap();
    assert_eq!(response.status(), 400);
    let text = response.text().await.unwrap();
    assert!(text.contains("(headers.text(\"x-hook\"))"), "{text}");
    assert_eq!(headed("https://example.com/in").send().await.unwrap().status(), 200);
    assert_eq!(
        server.client.post(server.path("/headed")).send().await.unwrap().status(),
        200,
        "a request without a webhook must be accepted"
    );
    assert_eq!(server.count("request").await, 4, "refused requests must not be stored");
}

/// An invalid webhook URL in the settings is the operator's mistake, so a caller's request is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_the_settings_that_cannot_be_used_refuses_nobody() {
    let server = Server::reporting_to("junk");
    let id = server.submit("/echo", json!(1)).await;
    assert_eq!(server.settled("/echo", &id).await["status"], "completed");
}

/// A function that only calls an annotated function announces no webhook before its run. The run's registration is
/// stored before the run can end its process.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_needs_a_run_is_stored_before_the_body_begins() {
    for max_crashes in [1, 2] {
        let mut world = World::start().await;
        world.run_another(&format!("max_crashes = {max_crashes}\n")).await;
        world.submit_to("/ends/hidden", "/in", "abort").await;
        assert_eq!(world.server.registrations().await, 1, "only the first request may have a registration");
        world.server.open("first");
        world.restart_until_reported();
        let (_, id, path) = &world.ids[0];
        let report = world.receiver.wait_for(id);
        assert_eq!((report.path.as_str(), &report.json()["status"]), (*path, &json!("failed")));
    }
}

/// The start lines and `check` show the webhook of each handler.
#[tokio::test(flavor = "multi_thread")]
async fn start_lines_and_check_show_what_will_be_used() {
    let receiver = Receiver::start();
    let server = Server::start(&settings(&receiver, ""));
    let mut check = Process::start(env!("CARGO_BIN_EXE_workload"), server.folder.path(), &["check"], &[]);
    assert_eq!(check.ended().code(), Some(0));
    let (in_settings, of_route) = (receiver.url("/in"), receiver.url("/in/route"));
    for output in [server.process.output(), check.output()] {
        let shown = |route: &str| {
            let line = output.lines().find(|line| line.contains(&format!("POST {route} "))).unwrap();
            line.split_once("  webhook ").unwrap().1.to_owned()
        };
        for (route, webhook) in [
            ("/ends/config", format!("config.webhook_url ({in_settings})")),
            ("/ends/payload", "payload.hook".to_owned()),
            ("/ends/function", "hook_of(&payload)".to_owned()),
            ("/headed", "headers.text(\"x-hook\")".to_owned()),
            ("/ends/hidden", "chosen by the handler, or none".to_owned()),
            ("/ends/route", format!("chosen by the handler, or {of_route}")),
        ] {
            assert_eq!(shown(route), webhook, "{route}");
        }
    }
}

//! Tests a workload server that is killed and started again under load.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postback_tests::{Process, client};
use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::record::{self, Database, Record};
use crate::{Stage, build, kill};

/// The number of clients that post at the same time.
const CLIENTS: u64 = 8;
/// The longest pause of a client between two posts, in milliseconds. The pause bounds the work that is left at the end.
const PAUSE: u64 = 200;
/// The longest time that a handler works, in milliseconds. Requests that were running at a kill run one by one
/// afterwards.
const WORK: u64 = 100;
/// One in this number of requests is cancelled, after a random pause: before, during or after its run.
const CANCELLED: u32 = 4;
/// The steps of the schedule. About a third of all attempts fail, and a kill can cost an attempt too. No report needs
/// so many attempts.
const STEPS: usize = 100;

pub(crate) fn run(stage: &mut Stage<'_>) -> Vec<String> {
    let program = build().join("workload");
    assert!(
        program.exists(),
        "{} is not built: `cargo build -p postback-tests`, in the same profile",
        program.display()
    );
    std::fs::write(stage.folder.join("postback.toml"), settings(&stage.receiver.url("/in"))).expect("the settings");
    let (ledger, runtime) = (&stage.receiver.ledger, stage.receiver.runtime.handle().clone());
    let database = Database::File(stage.folder.join("workload.db"));
    let clients = Clients::start(1, stage);
    let mut broken = Vec::new();
    let mut forgotten = None;
    for n in 1..=stage.plan.kills {
        let is_ready = |output: &str| output.contains("  try ");
        let life = kill::one_life(
            &stage.shim,
            stage.plan.moment(),
            |variables| start(&program, stage.folder, variables),
            is_ready,
            |process| clients.set_url(0, process.url()),
        );
        broken.extend(life.err().map(|why| format!("life {n}: {why}")));
        clients.set_url(0, None);
        ledger.killed();
        if stage.forget && forgotten.is_none() {
            forgotten = record::forget(&runtime, &database);
            println!("forgotten: {forgotten:?}");
        }
    }
    let mut process = start(&program, stage.folder, &[]);
    clients.set_url(0, Some(process.ready()));
    clients.stop();
    record::quiet(&runtime, &database);
    process.terminate();
    let ended = process.ended();
    if !ended.success() {
        broken.push(format!("the server did not stop with success, but with {ended}:\n{}", process.output()));
    }
    if stage.folder.join("workload.db-wal").exists() {
        broken.push("the server stopped and left a write-ahead log behind".to_owned());
    }
    broken.extend(ledger.judge(&Record::read(&runtime, &database, true)));
    broken
}

pub(crate) fn start(program: &Path, folder: &Path, variables: &[(&str, &str)]) -> Process {
    Process::start(program, folder, &["serve", "--listen", "127.0.0.1:0"], variables)
}

/// The settings of a server. The steps of the schedule grow from 0 to 2 s, by 50 ms each.
pub(crate) fn settings(webhook_url: &str) -> String {
    let steps = (0..STEPS).map(|n| (n * 50).min(2_000));
    let schedule: Vec<String> = steps.map(|ms| if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") }).collect();
    format!(
        "[config]\nwebhook_url = {webhook_url:?}\n[worker]\nconcurrency = 4\nmax_crashes = 1000\n\
         [delivery]\ntimeout = \"1s\"\nschedule = {schedule:?}\n"
    )
}

/// The clients that post, and the URLs of the servers.
pub(crate) struct Clients {
    /// The URL of each server. `None`: the server is not ready.
    urls: Mutex<Vec<Option<String>>>,
    done: AtomicBool,
}

impl Clients {
    /// Starts the clients of this number of servers, of which none is ready yet.
    pub(crate) fn start(servers: usize, stage: &mut Stage<'_>) -> Arc<Self> {
        let clients = Arc::new(Self { urls: Mutex::new(vec![None; servers]), done: AtomicBool::new(false) });
        for n in 0..CLIENTS {
            let ledger = Arc::clone(&stage.receiver.ledger);
            stage.receiver.runtime.spawn(Arc::clone(&clients).post(n, stage.plan.branch(), ledger));
        }
        clients
    }

    pub(crate) fn set_url(&self, server: usize, url: Option<String>) {
        self.urls.lock().expect("no thread panicked while it held the lock")[server] = url;
    }

    /// Returns the URL of one of the servers that are ready.
    fn url(&self, plan: &mut Plan) -> Option<String> {
        let urls = self.urls.lock().expect("no thread panicked while it held the lock");
        let ready: Vec<_> = urls.iter().flatten().collect();
        if ready.is_empty() { None } else { Some(ready[plan.below(ready.len())].clone()) }
    }

    pub(crate) fn stop(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    async fn post(self: Arc<Self>, client_number: u64, mut plan: Plan, ledger: Arc<Ledger>) {
        let client = client();
        let mut number = 0;
        while !self.done.load(Ordering::SeqCst) {
            tokio::time::sleep(plan.pause(PAUSE)).await;
            let Some(url) = self.url(&mut plan) else { continue };
            number += 1;
            let result = format!("{client_number}-{number}");
            let work = u64::try_from(plan.pause(WORK).as_millis()).expect("small");
            let payload = json!({"work_ms": work, "text": result});
            let post = client.post(format!("{url}/wait")).json(&payload).timeout(Duration::from_secs(30));
            let Ok(response) = post.send().await else {
                ledger.unanswered();
                continue;
            };
            let status = response.status();
            match response.bytes().await {
                // A request counts as accepted only if its complete answer was read.
                Ok(body) if status == 200 => match id(&body) {
                    Some(id) => {
                        ledger.accepted(id.clone(), result);
                        if plan.is_one_in(CANCELLED) {
                            tokio::time::sleep(plan.pause(WORK)).await;
                            // If no complete answer comes, only the database says whether the request was cancelled.
                            ledger.cancelling(id.clone());
                            // Any server cancels the request, whichever runs it.
                            let url = self.url(&mut plan).unwrap_or_else(|| url.clone());
                            let cancel = client.delete(format!("{url}/wait/{id}")).timeout(Duration::from_secs(30));
                            if let Ok(response) = cancel.send().await
                                && let Ok(status) = response.error_for_status_ref().map(|answer| answer.status())
                                && response.bytes().await.is_ok()
                            {
                                ledger.cancelled(id, status == 200);
                            }
                        }
                    }
                    None => ledger.unanswered(),
                },
                Ok(_) => ledger.refused(),
                Err(_) => ledger.unanswered(),
            }
        }
    }
}

fn id(body: &[u8]) -> Option<String> {
    Some(serde_json::from_slice::<Value>(body).ok()?["id"].as_str()?.to_owned())
}

//! A network between the nodes and PostgreSQL that loses connections, or that forwards nothing for longer than a lease.
//! A ledger has each accepted request and each report that arrives.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use postback_tests::{Process, client, eventually};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::proxy::Proxy;
use super::{Stage, launch_at};

/// The number of clients that post to each node, one request after the other.
const CLIENTS: usize = 3;
/// A client waits this long for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause of a client between two requests: while connections are cut, and while a test waits for a lease.
const BUSY: Duration = Duration::from_millis(20);
const STEADY: Duration = Duration::from_millis(200);

/// The clients, and what was accepted: the text of each request, and the URL of its node, by id.
struct Load {
    accepted: Arc<Mutex<HashMap<String, (String, String)>>>,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    runtime: Runtime,
}

impl Load {
    fn start(urls: &[String], pause: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (accepted, is_over) = (Arc::<Mutex<HashMap<_, _>>>::default(), Arc::<AtomicBool>::default());
        let mut clients = Vec::new();
        for (number, url) in (0..CLIENTS).flat_map(|_| urls).enumerate() {
            let (accepted, is_over, url) = (Arc::clone(&accepted), Arc::clone(&is_over), url.clone());
            clients.push(runtime.spawn(async move {
                let client = client();
                for n in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let text = format!("{number}-{n}");
                    let post = client.post(format!("{url}/echo")).json(&json!(text)).timeout(PATIENCE).send();
                    if let Ok(answer) = post.await
                        && answer.status() == 200
                        && let Ok(answer) = answer.json::<Value>().await
                    {
                        let id = answer["id"].as_str().expect("an id").to_owned();
                        let before = accepted.lock().unwrap().insert(id, (text, url.clone()));
                        assert!(before.is_none(), "an id was given twice: {before:?}");
                    }
                    tokio::time::sleep(pause).await;
                }
            }));
        }
        Self { accepted, is_over, clients, runtime }
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Waits until this many more requests are accepted.
    fn more(&self, more: usize) {
        let before = self.accepted();
        eventually("more accepted requests", || match self.accepted() {
            now if now >= before + more => Ok(()),
            now => Err(now),
        });
    }

    /// Stops the clients, and returns what was accepted.
    fn stop(self) -> HashMap<String, (String, String)> {
        self.is_over.store(true, Ordering::SeqCst);
        self.runtime.block_on(async {
            for client in self.clients {
                client.await.expect("a client that did not panic");
            }
        });
        Arc::into_inner(self.accepted).expect("no client is left").into_inner().unwrap()
    }
}

/// Waits for the report of each accepted request, and checks each report. Returns the requests whose reports came more
/// than once.
fn reported(stage: &Stage, accepted: &HashMap<String, (String, String)>) -> HashSet<String> {
    let missing = || {
        let all: HashSet<String> =
            stage.receiver.all().iter().map(|one| one.json()["id"].as_str().unwrap().to_owned()).collect();
        accepted.keys().filter(|id| !all.contains(*id)).cloned().collect::<Vec<_>>()
    };
    eventually("a report of each accepted request", || {
        let missing = missing();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    });
    let mut of: HashMap<String, Vec<_>> = HashMap::new();
    for report in stage.receiver.all() {
        of.entry(report.json()["id"].as_str().unwrap().to_owned()).or_default().push(report);
    }
    for (id, reports) in &of {
        let first = &reports[0];
        let same = |report: &&postback_tests::Received| {
            report.body == first.body && report.header("webhook-id") == first.header("webhook-id")
        };
        assert!(reports.iter().all(|report| same(&report)), "{id}: {reports:?}");
        if let Some((text, _)) = accepted.get(id) {
            assert_eq!((&first.json()["status"], &first.json()["result"]), (&json!("completed"), &json!(text)));
        }
    }
    of.into_iter().filter(|(_, reports)| reports.len() > 1).map(|(id, _)| id).collect()
}

/// Checks that the node answers for each of these requests with its own result.
fn known(stage: &Stage, url: &str, accepted: &HashMap<String, (String, String)>) {
    let look = |(id, (text, _)): (&String, &(String, String))| {
        let (get, text, id) = (stage.client.get(format!("{url}/echo/{id}")).send(), json!(text), id.clone());
        async move {
            let status: Value = get.await.unwrap().json().await.unwrap();
            assert_eq!((&status["status"], &status["result"]), (&json!("completed"), &text), "{id}");
        }
    };
    let all = stream::iter(accepted.iter().map(look)).buffer_unordered(16).collect::<Vec<_>>();
    stage.runtime.block_on(all);
}

fn serve(stage: &Stage, url: &str) -> Process {
    launch_at(stage.folder.path(), url)
}

fn ends_well(mut node: Process) {
    node.terminate();
    assert_eq!(node.ended().code(), Some(0), "{}", node.output());
    assert!(!node.output().contains("panicked"), "{}", node.output());
}

/// All connections of two nodes are cut again and again, in the middle of transactions and of messages.
pub fn accepted_work_survives_cut_connections() {
    /// How often the connections are cut.
    const CUTS: usize = 40;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let stage = Stage::new();
    let proxy = Proxy::start(&stage.postgres.url("jobs"));
    let mut nodes = [(); 2].map(|()| serve(&stage, &proxy.url("jobs")));
    let urls: Vec<String> = nodes.iter_mut().map(Process::ready).collect();
    let load = Load::start(&urls, BUSY);
    load.more(20);
    proxy.cut(seed);
    eventually("enough cuts", || match proxy.cuts() {
        cuts if cuts >= CUTS => Ok(()),
        cuts => Err((cuts, load.accepted())),
    });
    let cuts = proxy.heal();
    load.more(20);
    let accepted = load.stop();
    println!("{cuts} cuts, {} requests", accepted.len());
    // No node was away for as long as its lease, so no report was sent twice.
    assert_eq!(reported(&stage, &accepted), HashSet::new());
    known(&stage, &urls[0], &accepted);
    for node in nodes {
        assert!(!node.output().contains("no sign of life"), "{}", node.output());
        ends_well(node);
    }
}

/// One of two nodes cannot reach PostgreSQL for longer than its lease, and goes on then. Its runs end meanwhile.
pub fn a_node_that_was_cut_off_overwrites_nothing() {
    let stage = Stage::new();
    let proxy = Proxy::start(&stage.postgres.url("jobs"));
    let mut stale = serve(&stage, &proxy.url("jobs"));
    let stale_url = stale.ready();
    let mut other = serve(&stage, &stage.postgres.url("jobs"));
    let url = other.ready();
    // These runs begin on the first node, and are under way when it is cut off.
    let begin = |n: usize| {
        let run = json!({"gate": "gate", "text": n.to_string()});
        let post = stage.client.post(format!("{stale_url}/by_process")).json(&run).send();
        let answer: Value = stage.runtime.block_on(async { post.await.unwrap().json().await.unwrap() });
        answer["id"].as_str().expect("an id").to_owned()
    };
    let runs: Vec<String> = (0..3).map(begin).collect();
    for id in &runs {
        stale.wait_for(&format!("{id} begins"));
    }
    let load = Load::start(&[stale_url.clone(), url.clone()], STEADY);
    load.more(20);

    proxy.freeze();
    std::fs::write(stage.folder.path().join("gate"), "").unwrap();
    let taken_over = format!("(process {} on", stale.id());
    let said = other.wait_for(&taken_over);
    assert!(said.contains("shows no sign of life"), "{said}");
    let of_other: Vec<Value> = runs.iter().map(|id| stage.receiver.wait_for(id).json()).collect();
    for (n, report) in of_other.iter().enumerate() {
        assert_eq!(report["result"], format!("{n} of process {}", other.id()), "{report}");
    }
    load.more(20);
    // What the first node has sent meanwhile arrives now.
    proxy.thaw();
    assert_eq!(stale.ended().code(), Some(1), "{}", stale.output());
    assert!(stale.output().contains("other processes have taken over"), "{}", stale.output());
    let accepted = load.stop();

    let twice = reported(&stage, &accepted);
    println!("{} requests, {} reported twice", accepted.len(), twice.len());
    // Only what the first node had accepted can have been sent twice.
    for id in &twice {
        assert!(accepted.get(id).is_some_and(|(_, of)| *of == stale_url), "{id} of {twice:?}");
    }
    known(&stage, &url, &accepted);
    for (id, report) in runs.iter().zip(&of_other) {
        let get = stage.client.get(format!("{url}/by_process/{id}")).send();
        let status: Value = stage.runtime.block_on(async { get.await.unwrap().json().await.unwrap() });
        assert_eq!(status["result"], report["result"]);
    }
    ends_well(other);
}

/// The network loses the connections of a node, and tells neither end. New connections work.
pub fn connections_that_the_network_has_forgotten_are_replaced() {
    let stage = Stage::new();
    let proxy = Proxy::start(&stage.postgres.url("jobs"));
    let mut nodes = [proxy.url("jobs"), stage.postgres.url("jobs")].map(|url| serve(&stage, &url));
    let urls = nodes.each_mut().map(Process::ready);
    let load = Load::start(&urls, STEADY);
    load.more(20);
    // The node has opened all connections that read.
    let (id, (text, _)) = load.accepted.lock().unwrap().iter().next().map(|(id, of)| (id.clone(), of.clone())).unwrap();
    let get = || stage.client.get(format!("{}/echo/{id}", urls[0])).send();
    stage.runtime.block_on(async {
        for answer in futures_util::future::join_all((0..16).map(|_| get())).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
    });
    proxy.forget();
    // A read finds a connection that works.
    let status: Value = stage.runtime.block_on(async { get().await.unwrap().json().await.unwrap() });
    assert_eq!(status["result"], text, "{status}");
    // The node writes again before its lease is over.
    nodes[0].wait_for("the network has lost a question to PostgreSQL, or its answer");
    nodes[0].wait_for("the store can write again");
    load.more(20);
    let accepted = load.stop();
    assert_eq!(reported(&stage, &accepted), HashSet::new());
    known(&stage, &urls[0], &accepted);
    for node in nodes {
        assert!(!node.output().contains("no sign of life"), "{}", node.output());
        ends_well(node);
    }
}

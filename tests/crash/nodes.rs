//! Tests several workload servers on one PostgreSQL, which are killed, stopped for longer than their leases, and cut off
//! from their database under load.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postback_tests::Process;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::plan::Event;
use crate::record::{self, Database, Record};
use crate::server::{Clients, settings, start};
use crate::{Postgres, Stage, build};

/// The schema of the nodes.
const SCHEMA: &str = "nodes";
/// How long a node is stopped: longer than its lease of 15 s.
const STOPPED: Duration = Duration::from_secs(18);
/// The longest pause between two events, in milliseconds.
const PAUSE: u64 = 900;

struct Nodes<'a> {
    program: PathBuf,
    folder: &'a std::path::Path,
    nodes: Vec<Node>,
    broken: Vec<String>,
}

struct Node {
    process: Process,
    /// When a stopped node goes on.
    goes_on: Option<Instant>,
    /// Whether the node was stopped for longer than its lease, so that it may end by itself.
    may_end: bool,
}

pub(crate) fn run(stage: &mut Stage<'_>, nodes: usize) -> Vec<String> {
    let postgres = Postgres::start().expect("PostgreSQL");
    let url = postgres.url(SCHEMA);
    let text = format!("{}[store]\nurl = {url:?}\n", settings(&stage.receiver.url("/in")));
    std::fs::write(stage.folder.join("postback.toml"), text).expect("the settings");
    let options: PgConnectOptions = url.split("&search_path").next().expect("a URL").parse().expect("a URL");
    let options = options.options([("search_path", SCHEMA)]).application_name("harness");
    let clients = Clients::start(nodes, stage);
    let mut all = Nodes { program: build().join("workload"), folder: stage.folder, nodes: Vec::new(), broken: vec![] };
    for _ in 0..nodes {
        let node = all.start();
        all.nodes.push(node);
    }
    let mut events: HashMap<Event, usize> = HashMap::new();
    for _ in 0..stage.plan.kills {
        std::thread::sleep(stage.plan.pause(PAUSE));
        all.look(&clients);
        let (event, of) = (stage.plan.event(), stage.plan.below(nodes));
        *events.entry(event).or_default() += 1;
        match event {
            Event::Kill => {
                stage.receiver.ledger.killed();
                all.nodes[of].process.kill();
                all.restart(of);
            }
            // A stopped node does not obey, and a node that is just starting ends at once.
            Event::Terminate if all.nodes[of].goes_on.is_none() && all.nodes[of].url().is_some() => {
                all.nodes[of].process.terminate();
                all.ended(of);
                all.restart(of);
            }
            Event::Stop if all.nodes.iter().all(|node| node.goes_on.is_none()) => {
                all.nodes[of].process.stop();
                all.nodes[of].goes_on = Some(Instant::now() + STOPPED);
            }
            Event::Terminate | Event::Stop => {}
            Event::EndConnections => stage.receiver.runtime.block_on(end_connections(&options)),
            Event::RestartDatabase => postgres.command("restart"),
        }
    }
    // All nodes work at the end, so that the rest of the work is done.
    while all.nodes.iter().any(|node| node.goes_on.is_some()) || !all.are_ready() {
        all.look(&clients);
        std::thread::sleep(Duration::from_millis(20));
    }
    clients.stop();
    let database = Database::Postgres(Box::new(options));
    record::quiet(stage.receiver.runtime.handle(), &database);
    for node in &all.nodes {
        node.process.terminate();
    }
    for n in 0..nodes {
        all.ended(n);
    }
    let mut events: Vec<_> = events.into_iter().map(|(event, n)| format!("{event:?} {n}")).collect();
    events.sort();
    println!("nodes: {}", events.join(", "));
    let mut broken = all.broken;
    broken.extend(stage.receiver.ledger.judge(&Record::read(stage.receiver.runtime.handle(), &database, true)));
    broken
}

async fn end_connections(options: &PgConnectOptions) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'postback%'";
    if let Ok(mut conn) = options.connect().await {
        // The database may just be starting again.
        let _ = sqlx::query(sql).execute(&mut conn).await;
    }
}

impl Nodes<'_> {
    fn start(&self) -> Node {
        Node { process: start(&self.program, self.folder, &[]), goes_on: None, may_end: false }
    }

    fn restart(&mut self, n: usize) {
        self.nodes[n] = self.start();
    }

    /// Waits until the node has ended. It must have ended properly, unless it was taken over, or was started while the
    /// database was away.
    fn ended(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let status = node.process.ended();
        let output = node.process.output();
        let was_taken_over = node.may_end && output.contains("taken over the work of this process");
        let has_not_begun = node.url().is_none() && output.contains("cannot be used: there is no connection");
        if !status.success() && !was_taken_over && !has_not_begun {
            self.broken.push(format!("a node ended with {status}:\n{}", node.process.output()));
        }
    }

    /// Lets a stopped node go on in time, starts a node again that was taken over, and tells the clients the URLs.
    fn look(&mut self, clients: &Clients) {
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if node.goes_on.is_some_and(|at| at <= Instant::now()) {
                node.process.go_on();
                (node.goes_on, node.may_end) = (None, true);
            }
            if !node.process.is_running() {
                self.ended(n);
                self.restart(n);
            }
            clients.set_url(n, self.nodes[n].url());
        }
    }

    fn are_ready(&self) -> bool {
        self.nodes.iter().all(|node| node.url().is_some())
    }
}

impl Node {
    fn url(&self) -> Option<String> {
        self.process.output().contains("  try ").then(|| self.process.url()).flatten()
    }
}

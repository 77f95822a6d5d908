//! A workload server for the tests of failing storage, and what a client expects of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postback_tests::{Process, Receiver, client, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) folder: PathBuf,
    pub(crate) receiver: Receiver,
    url: String,
    client: reqwest::Client,
    runtime: Runtime,
    accepted: Vec<(&'static str, String)>,
}

/// The answer to a submission.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted,
    /// The HTTP status and the body.
    Refused(u16, String),
}

impl Server {
    /// Starts a server in this folder, which holds its settings and its database.
    pub(crate) fn start(folder: &Path, variables: &[(&'static str, String)]) -> Self {
        let receiver = Receiver::start();
        let settings = format!(
            "[config]\nwebhook_url = {:?}\n[delivery]\nschedule = [\"0s\", \"1s\", \"1s\", \"1s\"]\n[shutdown]\ngrace = \"1s\"\n",
            receiver.url("/")
        );
        std::fs::write(folder.join("postback.toml"), settings).unwrap();
        let mut process = launch(folder, variables);
        let url = process.ready();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { process, folder: folder.to_owned(), receiver, url, client: client(), runtime, accepted: Vec::new() }
    }

    pub(crate) fn restart(&mut self) {
        self.process = launch(&self.folder, &[]);
        self.url = self.process.ready();
    }

    /// Posts a text. If the request is accepted, its id is remembered for later checks.
    pub(crate) fn submit(&mut self, text: &str) -> Answer {
        self.submit_to("/echo", &json!(text))
    }

    fn submit_to(&mut self, route: &'static str, payload: &Value) -> Answer {
        let post = self.client.post(format!("{}{route}", self.url)).json(payload).timeout(Duration::from_mins(1));
        let (status, body) = self.runtime.block_on(async {
            let response = post.send().await.expect("an answer");
            (response.status().as_u16(), response.bytes().await.expect("a whole answer"))
        });
        if status == 200 {
            let answer: Value = serde_json::from_slice(&body).unwrap();
            self.accepted.push((route, answer["id"].as_str().unwrap().to_owned()));
            Answer::Accepted
        } else {
            Answer::Refused(status, String::from_utf8_lossy(&body).into_owned())
        }
    }

    #[track_caller]
    pub(crate) fn accepts(&mut self, text: &str) {
        self.accepts_at("/echo", &json!(text));
    }

    #[track_caller]
    pub(crate) fn accepts_at(&mut self, route: &'static str, payload: &Value) {
        let answer = self.submit_to(route, payload);
        assert!(matches!(answer, Answer::Accepted), "{answer:?}\n{}", self.process.output());
    }

    /// Checks that a submission is refused with 503, and that the answer says to try again.
    #[track_caller]
    pub(crate) fn refuses(&mut self, text: &str) {
        match self.submit(text) {
            Answer::Refused(503, text) if text.contains("try again") => {}
            other => panic!("{other:?}\n{}", self.process.output()),
        }
    }

    /// The status and the text of `/readyz`.
    pub(crate) fn readiness(&self) -> (u16, String) {
        let get = self.client.get(format!("{}/readyz", self.url));
        self.runtime.block_on(async {
            let response = get.send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("a whole answer"))
        })
    }

    /// Waits until `/readyz` answers 200, without sending any other request.
    pub(crate) fn is_ready(&self) {
        eventually("a server that is ready", || match self.readiness() {
            (200, _) => Ok(()),
            other => Err(other),
        });
    }

    /// The status of the request that was accepted last.
    pub(crate) fn last_status(&self) -> String {
        let (route, id) = self.accepted.last().expect("a request");
        let get = self.client.get(format!("{}{route}/{id}", self.url));
        let status: Value = self.runtime.block_on(async {
            let response = get.send().await.expect("an answer");
            serde_json::from_slice(&response.bytes().await.unwrap()).expect("a status")
        });
        status["status"].as_str().expect("a text").to_owned()
    }

    /// Waits until the outcomes of all accepted requests are reported to the receiver.
    pub(crate) fn has_reported_all(&self) {
        for (_, id) in &self.accepted {
            assert_eq!(self.receiver.wait_for(id).json()["status"], "completed");
        }
    }

    /// Waits until a submission is accepted again, without a restart of the server.
    pub(crate) fn recovers(&mut self) {
        eventually("a submission that is accepted", || match self.submit("after the trouble") {
            Answer::Accepted => Ok(()),
            refused @ Answer::Refused(..) => Err(refused),
        });
    }

    /// Checks that all accepted requests are reported to the receiver, that their status is known, and that a restart
    /// keeps them.
    pub(crate) fn keeps_all(&mut self) {
        for (_, id) in &self.accepted {
            assert_eq!(self.receiver.wait_for(id).json()["status"], "completed");
        }
        self.knows_all();
        assert!(!self.process.output().contains("panicked"), "{}", self.process.output());
        self.process.terminate();
        assert_eq!(self.process.ended().code(), Some(0), "{}", self.process.output());
        self.restart();
        self.knows_all();
    }

    fn knows_all(&self) {
        for (route, id) in &self.accepted {
            let get = self.client.get(format!("{}{route}/{id}?wait=30", self.url));
            let status: Value = self.runtime.block_on(async {
                let response = get.send().await.expect("an answer");
                serde_json::from_slice(&response.bytes().await.unwrap()).expect("a status")
            });
            assert_eq!(status["status"], "completed", "{id}");
        }
    }

    /// Checks that each status is correct or an error. Returns the number of errors.
    pub(crate) fn knows_all_or_fails(&self) -> usize {
        let mut errors = 0;
        for (route, id) in &self.accepted {
            let get = self.client.get(format!("{}{route}/{id}", self.url));
            let (status, body) = self.runtime.block_on(async {
                let response = get.send().await.expect("an answer");
                (response.status().as_u16(), response.bytes().await.unwrap())
            });
            match status {
                503 => errors += 1,
                200 => {
                    let status: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!((&status["status"], status["result"].is_string()), (&json!("completed"), true), "{id}");
                }
                _ => panic!("{id}: {status} {}", String::from_utf8_lossy(&body)),
            }
        }
        errors
    }

    /// Uses this process as the server from now on.
    pub(crate) fn takes(&mut self, process: Process) {
        self.url = process.url().expect("a process that is ready");
        self.process = process;
    }

    /// Forgets the requests that were accepted after the first `n`, so that they are no longer checked.
    pub(crate) fn forget_after(&mut self, n: usize) {
        self.accepted.truncate(n);
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("workload.db")
    }
}

pub(crate) fn launch(folder: &Path, variables: &[(&'static str, String)]) -> Process {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["serve", "--listen", "127.0.0.1:0"], &variables)
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

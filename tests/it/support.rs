//! A workload server in its own temporary folder, and the calls that tests make to it.

use std::path::Path;

use postback_tests::{Process, client, eventually_async};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The signing secret of the tests.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub struct Server {
    pub process: Process,
    pub url: String,
    pub client: reqwest::Client,
    pub folder: TempDir,
}

impl Server {
    /// Starts a server with this postback.toml, on a free port.
    pub fn start(settings: &str) -> Self {
        Self::start_with(settings, &[])
    }

    /// Starts a server with this postback.toml and these environment variables, on a free port.
    pub fn start_with(settings: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
        let mut process = Self::launch_with(folder.path(), variables);
        let url = process.ready();
        Self { process, url, client: client(), folder }
    }

    /// Starts a server that reports to this URL.
    pub fn reporting_to(url: &str) -> Self {
        Self::start(&format!("[config]\nwebhook_url = {url:?}\n"))
    }

    /// Starts the program in this folder. Does not wait until it is ready.
    pub fn launch(folder: &Path) -> Process {
        Self::launch_with(folder, &[])
    }

    fn launch_with(folder: &Path, variables: &[(&str, &str)]) -> Process {
        Process::start(env!("CARGO_BIN_EXE_workload"), folder, &["serve", "--listen", "127.0.0.1:0"], variables)
    }

    /// Starts the server again in the same folder. The process before must have ended.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Starts the server again in the same folder, with these environment variables.
    pub fn restart_with(&mut self, variables: &[(&str, &str)]) {
        self.process = Self::launch_with(self.folder.path(), variables);
        self.url = self.process.ready();
    }

    /// Ends the server by SIGKILL, and starts it again.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.restart();
    }

    /// Ends the server by SIGTERM. After that, it prints and sends nothing more.
    pub fn stop(&mut self) {
        self.process.terminate();
        assert_eq!(self.process.ended().code(), Some(0));
    }

    /// Opens a gate: the runs that wait for it continue.
    pub fn open(&self, gate: &str) {
        std::fs::write(self.folder.path().join(gate), "").unwrap();
    }

    /// Closes a gate: runs that reach it from now on wait.
    pub fn close(&self, gate: &str) {
        std::fs::remove_file(self.folder.path().join(gate)).unwrap();
    }

    /// The number of rows of a table.
    pub async fn count(&self, table: &'static str) -> i64 {
        let file = self.folder.path().join("workload.db");
        let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        let count = rows.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Returns how many requests have a stored registration: one that came with the request, or one of its run.
    pub async fn registrations(&self) -> i64 {
        let of_body = "request_body AS b LEFT JOIN registration AS r ON r.seq = b.seq \
                       WHERE coalesce(r.text, b.registration) IS NOT NULL";
        self.count(of_body).await
    }

    /// Waits until this number of requests have a stored registration.
    pub async fn registered(&self, requests: i64) {
        eventually_async("stored registrations", async || {
            let stored = self.registrations().await;
            if stored == requests { Ok(()) } else { Err(stored) }
        })
        .await;
    }

    /// How often each request was lost with its process. The requests are in the order of their submission.
    pub async fn crashes(&self) -> Vec<i64> {
        let file = self.folder.path().join("workload.db");
        let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
        let rows = sqlx::query_scalar("SELECT crashes FROM request ORDER BY seq");
        let crashes = rows.fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        crashes
    }

    /// Changes the database directly, as another program could.
    pub async fn write(&self, sql: &'static str) {
        let file = self.folder.path().join("workload.db");
        let mut connection = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Submits a JSON payload. Returns the id of the request.
    pub async fn submit(&self, route: &str, payload: Value) -> String {
        self.submit_with(route, payload, &[]).await
    }

    /// Submits a JSON payload with these headers. Returns the id of the request.
    pub async fn submit_with(&self, route: &str, payload: Value, headers: &[(&'static str, &str)]) -> String {
        let mut post = self.client.post(self.path(route)).json(&payload);
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        let response = post.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub async fn status(&self, route: &str, id: &str) -> Value {
        let response = self.client.get(self.path(&format!("{route}/{id}"))).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// Waits until the request runs.
    pub async fn running(&self, route: &str, id: &str) {
        eventually_async("the run", async || {
            let status = self.status(route, id).await;
            if status["status"] == "in_progress" { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Host and port of the server.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Opens a connection and writes this text.
    pub async fn saying(&self, text: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        socket
    }

    /// Opens a connection with a GET that the server is working on and has not answered yet.
    ///
    /// Two requests are written together, and the first is answered at once. The server serves one connection in order.
    /// So the answer to the first request shows that the server has begun with the second.
    pub async fn hanging(&self, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        let gets = format!(
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(gets.as_bytes()).await.unwrap();
        let mut first = Vec::new();
        while !first.ends_with(b"ok\n") {
            assert_ne!(socket.read_buf(&mut first).await.unwrap(), 0, "{}", String::from_utf8_lossy(&first));
        }
        socket
    }

    /// Long-polls until the request is settled.
    pub async fn settled(&self, route: &str, id: &str) -> Value {
        eventually_async("the end of the request", async || {
            let response = self.client.get(self.path(&format!("{route}/{id}?wait=5"))).send().await.unwrap();
            let status: Value = response.json().await.unwrap();
            if status["status"] == "in_queue" || status["status"] == "in_progress" { Err(status) } else { Ok(status) }
        })
        .await
    }

    /// Waits until the member `delivery` of the status has this property. Returns the member.
    pub async fn delivery(&self, route: &str, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually_async("the expected state of the delivery", async || {
            let url = self.path(&format!("{route}/{id}?include=delivery"));
            let mut status: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
            let delivery = status["delivery"].take();
            if holds(&delivery) { Ok(delivery) } else { Err(delivery) }
        })
        .await
    }
}

/// Reads an answer after which the server closes the connection.
pub async fn answer(mut socket: TcpStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The names of a JSON object's members, in the order of the text.
pub fn keys(json: &[u8]) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_slice::<Keys>(json).unwrap().0
}

//! The admin socket: a Unix socket beside the database, for the commands `endpoints list` and `endpoints enable` while
//! the server runs.
//!
//! A client sends one command per connection, as one line, and gets one line back. The answer to `list` is JSON. A user
//! who may read the database may use the socket: its mode is 0600, and the user of the client is checked too. The
//! number of clients, the length of a line and the time of a command are bounded.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use postback_store::shutdown::Shutdown;
use postback_store::{Disabled, Store};
use postback_wire::line::Causes;
use postback_wire::time::Timestamp;

/// The longest path of a socket, in bytes. Linux allows 108 bytes and other systems allow 104, and the last byte must
/// be zero.
const MAX_PATH: usize = 103;
/// The longest command that the server reads, in bytes. A command word and the longest URL need fewer bytes.
const MAX_LINE: usize = 4_096;
/// The largest number of bytes of an answer that a client reads. Even the longest answer, the list of all disabled
/// URLs, has fewer bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// The largest number of clients of the admin socket that are served at the same time.
const MAX_CLIENTS: usize = 4;
/// The longest time that one command and its answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the path of the admin socket for the database at the path `database`.
pub(crate) fn beside(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".sock");
    path.into()
}

/// A disabled webhook in the answer to the command `list`.
#[derive(Debug, Serialize, Deserialize)]
struct DisabledWebhook {
    url: String,
    since: i64,
    reason: String,
}

/// Serves the admin socket until `stop` signals the end. If the socket cannot be made, a warning is logged, and the
/// node works without the socket.
pub(crate) async fn run(store: Store, path: PathBuf, stop: Shutdown) {
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(
                "the socket {} cannot be made, so the command `endpoints` works only while the server is stopped: {}",
                path.display(),
                Causes(&error)
            );
            return;
        }
    };
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        // Each client that the server serves holds one permit. If all permits are in use, further clients wait in a
        // queue of the kernel. The length of this queue is limited.
        let permit = tokio::select! {
            () = stop.stopping() => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.stopping() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (store, path) = (store.clone(), path.clone());
                stop.spawn(async move {
                    // The errors are ignored, because they mean that the client has closed the connection or that the
                    // time is over.
                    let _ = tokio::time::timeout(TIMEOUT, serve(&store, &path, &stream)).await;
                    drop(permit);
                });
            }
            // Usually `accept` fails because the process has too many open files. After a pause, some of these files
            // may be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    let _ = std::fs::remove_file(&path);
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "its path is longer than {MAX_PATH} bytes, which is the limit for a socket; use a shorter store.url"
            ),
        ));
    }
    // This process has locked the database, so no other server uses the database now. If a socket exists at this path,
    // an earlier process has left the socket there, so this process can remove the socket. A file of another kind is
    // not removed.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(store: &Store, path: &Path, stream: &UnixStream) -> io::Result<()> {
    // The mode of the socket is changed after the socket is made. Between the two steps, a client of another user may
    // connect. So the server checks the user of each client.
    let (user, owner) = (stream.peer_cred()?.uid(), std::fs::symlink_metadata(path)?.uid());
    let answer = if user == owner || user == 0 {
        answer(store, &read_line(stream).await?).await
    } else {
        Err("only the owner of this socket may use it".to_owned())
    };
    let answer = match answer {
        Ok(answer) => format!("ok {answer}\n"),
        Err(why) => format!("error {}\n", why.replace('\n', " ")),
    };
    write(stream, answer.as_bytes()).await
}

async fn answer(store: &Store, line: &str) -> Result<String, String> {
    let failed = |error: postback_store::Error| Causes(&error).to_string();
    match line.split_once(' ').unwrap_or((line, "")) {
        ("list", "") => {
            let disabled = store.disabled().await.map_err(failed)?.into_iter();
            let line = |at: Disabled| DisabledWebhook { url: at.url, since: at.since.micros(), reason: at.reason };
            serde_json::to_string(&disabled.map(line).collect::<Vec<_>>()).map_err(|error| error.to_string())
        }
        ("enable", url) if store.is_disabled(url) => {
            let reports = store.enable(url).await.map_err(failed)?;
            tracing::info!(reports, "a webhook was enabled by command; {reports} reports were held for it");
            Ok(reports.to_string())
        }
        ("enable", _) => Ok("0".to_owned()),
        _ => Err("unknown command; known commands: `list` and `enable URL`".to_owned()),
    }
}

/// Reads one line, and returns the line without its line break.
async fn read_line(stream: &UnixStream) -> io::Result<String> {
    let (mut line, mut buffer) = (Vec::new(), [0; 512]);
    loop {
        stream.readable().await?;
        let read = match stream.try_read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        line.extend_from_slice(&buffer[..read]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return String::from_utf8(line).map_err(io::Error::other);
        }
        if line.len() > MAX_LINE {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

async fn write(stream: &UnixStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A client that sends commands to a running server through the admin socket.
pub(crate) struct Client(PathBuf);

impl Client {
    /// Makes a client of the server that has this database open. Returns `None` if no server listens on the admin
    /// socket.
    pub(crate) fn of(database: &Path) -> Option<Self> {
        let path = beside(database);
        Blocking::connect(&path).is_ok().then_some(Self(path))
    }

    /// Asks the server for the disabled webhooks.
    pub(crate) fn disabled(&self) -> Result<Vec<Disabled>, String> {
        let lines: Vec<DisabledWebhook> =
            serde_json::from_str(&self.ask("list")?).map_err(|error| error.to_string())?;
        let one =
            |DisabledWebhook { url, since, reason }| Disabled { url, since: Timestamp::from_micros(since), reason };
        Ok(lines.into_iter().map(one).collect())
    }

    /// Tells the server to enable a URL. Returns the number of reports that were held for the URL.
    pub(crate) fn enable(&self, url: &str) -> Result<u64, String> {
        self.ask(&format!("enable {url}"))?
            .parse()
            .map_err(|_| "the answer of the running server is not a number".to_owned())
    }

    fn ask(&self, command: &str) -> Result<String, String> {
        let asked = || {
            let mut stream = Blocking::connect(&self.0)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut answer = String::new();
            stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
            io::Result::Ok(answer)
        };
        let answer = asked().map_err(|error| format!("the running server does not answer: {error}"))?;
        match answer.trim_end().split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            Some(("error", why)) => Err(why.to_owned()),
            _ => Err("the answer of the running server is not complete".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_store::{Location, NewReport, Next, Options, Settled};
    use postback_wire::id::NodeId;
    use postback_wire::time::Clock;
    use postback_wire::webhook::Webhook;

    async fn running(database: &Path) -> (Store, Shutdown) {
        let place = Location::Memory { reports: 100, bytes: 1 << 20, kept: 100 };
        let store = Store::open(Options::at(place), NodeId::generate(), Clock::system()).await.unwrap();
        let stop = Shutdown::new();
        stop.spawn(run(store.clone(), beside(database), stop.clone()));
        while !beside(database).exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (store, stop)
    }

    async fn client<T: Send + 'static>(database: &Path, ask: impl FnOnce(Client) -> T + Send + 'static) -> T {
        let database = database.to_owned();
        tokio::task::spawn_blocking(move || ask(Client::of(&database).unwrap())).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_disabled_is_listed_and_enabled_while_the_server_runs() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("x.db");
        assert!(Client::of(&database).is_none());
        // The test makes a socket on which nobody listens, because an earlier process may have left such a socket.
        drop(std::os::unix::net::UnixListener::bind(beside(&database)).unwrap());
        let (store, stop) = running(&database).await;
        let url = "https://a.example/in?token=s3cret";
        let now = Clock::system().now();
        store.post_durably(vec![NewReport::to(Webhook::new(url).unwrap(), "1", "{}".into(), now)]).await.unwrap();
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        let attempt = postback_store::Attempt {
            started: now,
            took: Duration::ZERO,
            status: Some(410),
            error: Some("answered 410".into()),
            response: bytes::Bytes::new(),
        };
        let gone = Next::Gone { disable: true };
        assert_eq!(store.settle_report(row.claim, attempt, gone).await.unwrap(), Settled::Current);
        let disabled = loop {
            // Until the server has replaced the old Unix socket next to the database, no process listens on this
            // socket, and `Client::of` returns `None`.
            let path = database.clone();
            let listed = tokio::task::spawn_blocking(move || Client::of(&path).map(|client| client.disabled()));
            if let Some(listed) = listed.await.unwrap() {
                break listed.unwrap();
            }
        };
        assert_eq!((disabled.len(), disabled[0].url.as_str(), disabled[0].reason.as_str()), (1, url, "answered 410"));
        let mode = std::fs::metadata(beside(&database)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(client(&database, |client| client.enable(url)).await, Ok(0));
        assert!(!store.is_disabled(url));
        assert!(client(&database, |client| client.ask("reboot")).await.unwrap_err().contains("unknown command"));
        // The server refuses a command that is too long, and still serves other clients.
        let cut_off = client(&database, |client| client.ask(&"x".repeat(1 << 20))).await;
        assert!(cut_off.is_err(), "{cut_off:?}");
        assert!(client(&database, |client| client.disabled()).await.unwrap().is_empty());
        stop.stop();
        stop.finished().await;
        assert!(!beside(&database).exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_stays_and_a_path_that_is_too_long_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        std::fs::write(&path, "mine").unwrap();
        assert!(listen(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let long = folder.path().join("x".repeat(100));
        assert!(listen(&long).unwrap_err().to_string().contains("store.url"));
    }
}

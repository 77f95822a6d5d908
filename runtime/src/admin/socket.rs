//! The Unix socket beside the database, for the commands of a user on the same machine.
//!
//! A user who may read the database may use the socket: its mode is 0600, and the user of each client is checked too.
//! The number of clients, the length of a head and the time without a request are bounded.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::answer::Problem;
use super::audit::Actor;
use crate::problem::Code;
use postback_store::shutdown::Shutdown;
use postback_wire::line::Causes;

/// The longest path of a socket, in bytes. Linux allows 108 bytes and other systems allow 104, and the last byte must
/// be zero.
const MAX_PATH: usize = 103;
/// The largest number of clients that are served at the same time. Change feeds are included.
const MAX_CLIENTS: usize = 64;
/// The time within which a client must send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const BUFFER: usize = 32 << 10;
/// The longest time that active calls have to finish when the server stops.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// Returns the path of the admin socket for the database at the path `database`.
pub(crate) fn beside(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".sock");
    path.into()
}

/// A socket that listens, and its path.
pub(crate) struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

/// Makes the admin socket for the database at the path `database`. If the socket cannot be made, logs a warning and
/// returns `None`: the node works without the socket.
pub(crate) fn listen_beside(database: &Path) -> Option<Listening> {
    let path = beside(database);
    match listen(&path) {
        Ok(listener) => Some(Listening { listener, path }),
        Err(error) => {
            tracing::warn!(
                "the socket {} cannot be made, so commands reach this server only with server.admin_token and --url: {}",
                path.display(),
                Causes(&error)
            );
            None
        }
    }
}

/// Serves the router on the admin socket until `stop` signals the end.
pub(crate) async fn run(Listening { listener, path }: Listening, router: Router, stop: Shutdown) {
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
                let (router, path, stopping) = (router.clone(), path.clone(), stop.clone());
                stop.spawn(async move {
                    serve(stream, router, &path, stopping).await;
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

async fn serve(stream: UnixStream, router: Router, path: &Path, stop: Shutdown) {
    // The mode of the socket is changed after the socket is made. Between the two steps, a client of another user may
    // connect. So the server checks the user of each client.
    let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { return };
    let allowed = uid == 0 || std::fs::symlink_metadata(path).is_ok_and(|socket| socket.uid() == uid);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let router = router.clone();
        request.extensions_mut().insert(Actor::Socket { uid });
        async move { if allowed { router.oneshot(request.map(Body::new)).await } else { Ok(forbidden()) } }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(BUFFER);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error means that the client has closed the connection, or that the time for a head is over.
    tokio::select! {
        ended = served.as_mut() => drop(ended),
        () = stop.stopping() => {
            served.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_CALLS, served).await;
        }
    }
}

fn forbidden() -> Response {
    Problem::new(Code::Forbidden, "only the owner of this socket may use it").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_socket_of_an_earlier_process_is_replaced_and_its_mode_is_0600() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let _listener = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

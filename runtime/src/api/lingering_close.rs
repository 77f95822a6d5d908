//! Lingering close: at the end of a connection, the bytes that the client still sends are read and dropped for a while,
//! so that the client gets the answer.
//!
//! Many clients send the whole request before they read. If a server closes a connection while bytes of the client are
//! unread, the kernel sends a reset, and then the client's kernel throws away an answer that has already arrived.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The longest time for which the server reads and drops the client's bytes at the end of a connection.
pub(super) const MAX_TIME: Duration = Duration::from_secs(30);
/// How long the client may pause while the server reads and drops the client's bytes at the end of a connection. After
/// a longer pause, the server closes the connection.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The largest number of bytes that the server reads and drops at the end of a connection.
pub(super) const MAX_BYTES: usize = 256 << 20;
/// The largest number of bytes that the server reads and drops at the end of a connection if no head was accepted before
/// them. A client that sends a wrong head and a body gets its answer; a flood of headers is cut off.
const MAX_HEAD_BYTES: usize = 32 << 20;
/// The largest number of bytes that the server reads at once when it drops the client's bytes at the end of a
/// connection.
const PIECE: usize = 16 << 10;

/// Records whether the server has read the last request on a connection to its end. If so, the server need not read and
/// drop further bytes when the connection ends. All clones share one state.
#[derive(Clone, Default)]
pub(super) struct AllRead(Arc<State>);

#[derive(Default)]
struct State {
    /// Whether the server has received bytes of a request that the server has not read to its end.
    unread: AtomicBool,
    /// Whether the connection uses HTTP/2.
    http2: AtomicBool,
    /// Whether the unread bytes belong to the body of a request whose head was accepted.
    in_body: AtomicBool,
}

impl AllRead {
    /// Must be called when the server has accepted the head of a request.
    pub(super) fn head_is_read(&self) {
        self.0.in_body.store(true, Ordering::Relaxed);
    }

    /// Must be called when the server has read a request to its end.
    pub(super) fn set(&self) {
        self.0.in_body.store(false, Ordering::Relaxed);
        self.0.unread.store(false, Ordering::Relaxed);
    }

    /// Must be called if the connection uses HTTP/2. The server reads and drops no bytes at the end of such a
    /// connection, because an HTTP/2 frame can tell the client not to send the rest of a request.
    pub(super) fn set_http2(&self) {
        self.0.http2.store(true, Ordering::Relaxed);
    }

    fn unset(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    fn most_to_drop(&self) -> usize {
        if self.0.in_body.load(Ordering::Relaxed) { MAX_BYTES } else { MAX_HEAD_BYTES }
    }

    fn is_set(&self) -> bool {
        self.0.http2.load(Ordering::Relaxed) || !self.0.unread.load(Ordering::Relaxed)
    }
}

/// A connection that reads and drops the rest of the client's last request before the connection is shut down.
pub(super) struct LingeringStream<S> {
    stream: S,
    all_read: AllRead,
    /// The progress of reading and dropping the client's bytes. `None` until the connection is shut down.
    end: Option<Draining>,
    is_drained: bool,
}

/// The progress of reading and dropping the client's bytes at the end of a connection.
struct Draining {
    begun: Instant,
    dropped: usize,
    timer: Pin<Box<Sleep>>,
}

impl<S> LingeringStream<S> {
    /// Wraps `stream`. Returns the wrapped stream and an [`AllRead`]. The code that reads the requests must call
    /// `AllRead::set` each time that a request was read to its end.
    pub(super) fn new(stream: S) -> (Self, AllRead) {
        let all_read = AllRead::default();
        (Self { stream, all_read: all_read.clone(), end: None, is_drained: false }, all_read)
    }
}

/// A [`LingeringStream`] that several handles share. If a client asks for an upgrade of the protocol, hyper drops its
/// handle and does not shut down the connection. In this case, another handle can shut down the connection.
pub(super) struct SharedStream<S>(Arc<Mutex<LingeringStream<S>>>);

impl<S> Clone for SharedStream<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> SharedStream<S> {
    pub(super) fn new(stream: LingeringStream<S>) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    fn lock(&self) -> MutexGuard<'_, LingeringStream<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> SharedStream<S> {
    /// Shuts the connection down, unless hyper has already done so.
    pub(super) async fn finish(&self) {
        // An error is ignored here, because the answer is already written or cannot be written any more.
        let _ = poll_fn(|cx| Pin::new(&mut *self.lock()).poll_shutdown(cx)).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SharedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SharedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> LingeringStream<S> {
    /// Reads and drops the client's bytes until the client closes its side of the connection, or a limit is reached. If
    /// the connection fails, the reading ends without an error, because the answer is already written.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, all_read, end, .. } = self;
        let now = Instant::now();
        let end = end.get_or_insert_with(|| Draining {
            begun: now,
            dropped: 0,
            timer: Box::pin(sleep_until(now + MAX_PAUSE)),
        });
        loop {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut *stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    end.dropped += piece.filled().len();
                    if end.dropped >= all_read.most_to_drop() {
                        return Poll::Ready(());
                    }
                    end.timer.as_mut().reset((Instant::now() + MAX_PAUSE).min(end.begun + MAX_TIME));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if all_read.is_set() => return Poll::Ready(()),
                Poll::Pending => return end.timer.as_mut().poll(cx),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.all_read.unset();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if !self.is_drained {
            ready!(self.poll_rest(cx));
            self.is_drained = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Makes a connection from which the server has read only a part of a request. Returns the server's stream, the
    /// [`AllRead`] of this stream, and the client's stream.
    async fn half_read() -> (LingeringStream<DuplexStream>, AllRead, DuplexStream) {
        let (mut client, server) = duplex(1_024);
        let (mut server, all_read) = LingeringStream::new(server);
        client.write_all(b"POST").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        (server, all_read, client)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_still_writes_is_dropped_and_it_gets_the_answer() {
        let (mut connection, _, mut client) = half_read().await;
        let serving = async {
            connection.write_all(b"413").await.unwrap();
            connection.shutdown().await.unwrap();
        };
        let asking = async {
            client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let ((), answer) = tokio::join!(serving, asking);
        assert_eq!(answer, "413");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stands_still_is_left_soon_and_one_that_goes_on_later() {
        let (mut server, _, client) = half_read().await;
        let begun = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(begun.elapsed(), MAX_PAUSE);
        drop(client);

        let (mut server, _, mut client) = half_read().await;
        let begun = Instant::now();
        let writes = async {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = writes => {}
            ended = server.shutdown() => ended.unwrap(),
        }
        assert_eq!(begun.elapsed(), MAX_TIME);
    }

    /// Returns how many bytes are dropped of a client that writes without end.
    async fn dropped(of_body: bool) -> usize {
        let (mut server, all_read, mut client) = half_read().await;
        if of_body {
            all_read.head_is_read();
        }
        let writes = async {
            let piece = vec![0; 1 << 20];
            loop {
                client.write_all(&piece).await.unwrap();
            }
        };
        tokio::select! {
            () = writes => 0,
            ended = server.shutdown() => {
                ended.unwrap();
                server.end.expect("it was shut down").dropped
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_dropped_than_may_be() {
        let (of_body, of_head) = (dropped(true).await, dropped(false).await);
        assert!((MAX_BYTES..MAX_BYTES + PIECE).contains(&of_body), "{of_body}");
        assert!((MAX_HEAD_BYTES..MAX_HEAD_BYTES + PIECE).contains(&of_head), "{of_head}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_left_nothing_is_waited_for() {
        let (mut server, all_read, client) = half_read().await;
        all_read.set();
        let begun = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(client);
    }
}

//! The end of a connection: what a client is still sending is read and dropped for a while, so that it gets the answer.
//!
//! Many clients write all of a request before they read. If a connection is closed while bytes of theirs are unread, the kernel
//! answers with a reset, and the client's own kernel throws away an answer that has come already.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long bytes are read and dropped at the end of a connection, in all.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// How long the client may send nothing in that time.
pub(super) const STILL: Duration = Duration::from_secs(5);
/// How many bytes are read and dropped, at most.
pub(super) const MOST: usize = 256 << 20;
/// What is read at once.
const PIECE: usize = 16 << 10;

/// Whether all that came was read as requests, so that nothing is left of one. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct AllRead(Arc<State>);

#[derive(Default)]
struct State {
    /// Something came after the last request that was read to its end.
    left: AtomicBool,
    /// Requests are told apart by frames.
    framed: AtomicBool,
}

impl AllRead {
    /// The last request was read to its end.
    pub(super) fn set(&self) {
        self.0.left.store(false, Ordering::Relaxed);
    }

    /// The connection is one of HTTP/2, which has signs of its own for what is not wanted.
    pub(super) fn set_framed(&self) {
        self.0.framed.store(true, Ordering::Relaxed);
    }

    fn unset(&self) {
        self.0.left.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.framed.load(Ordering::Relaxed) || !self.0.left.load(Ordering::Relaxed)
    }
}

/// A connection that, once it is shut down, reads and drops what is left of the client's last request.
pub(super) struct Lingering<S> {
    stream: S,
    all_read: AllRead,
    /// Once it is shut down.
    end: Option<Draining>,
    is_over: bool,
}

struct Draining {
    begun: Instant,
    dropped: usize,
    timer: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    /// Also what says that the last request was read to its end.
    pub(super) fn new(stream: S) -> (Self, AllRead) {
        let all_read = AllRead::default();
        (Self { stream, all_read: all_read.clone(), end: None, is_over: false }, all_read)
    }
}

/// The same, in hands that may drop it before it is shut down: hyper does so where a client asked for an upgrade. All clones are one.
pub(super) struct Shared<S>(Arc<Mutex<Lingering<S>>>);

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Shared<S> {
    pub(super) fn new(stream: Lingering<S>) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    fn lock(&self) -> MutexGuard<'_, Lingering<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    /// Shuts it down, unless that was done.
    pub(super) async fn finish(&self) {
        // What was to be written is written, or cannot be.
        let _ = poll_fn(|cx| Pin::new(&mut *self.lock()).poll_shutdown(cx)).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Shared<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Shared<S> {
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

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Until the client closes its side, or the bounds are reached. What ends it is no error: the answer is out.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, all_read, end, .. } = self;
        let now = Instant::now();
        let end =
            end.get_or_insert_with(|| Draining { begun: now, dropped: 0, timer: Box::pin(sleep_until(now + STILL)) });
        loop {
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut *stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    end.dropped += piece.filled().len();
                    if end.dropped >= MOST {
                        return Poll::Ready(());
                    }
                    end.timer.as_mut().reset((Instant::now() + STILL).min(end.begun + LONGEST));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if all_read.is_set() => return Poll::Ready(()),
                Poll::Pending => return end.timer.as_mut().poll(cx),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.all_read.unset();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
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
        if !self.is_over {
            ready!(self.poll_rest(cx));
            self.is_over = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A connection on which a request came of which something is left, and its client's side.
    async fn half_read() -> (Lingering<DuplexStream>, AllRead, DuplexStream) {
        let (mut client, server) = duplex(1_024);
        let (mut server, all_read) = Lingering::new(server);
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
        assert_eq!(begun.elapsed(), STILL);
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
        assert_eq!(begun.elapsed(), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_dropped_than_may_be() {
        let (mut server, _, mut client) = half_read().await;
        let writes = async {
            let piece = vec![0; 1 << 20];
            loop {
                client.write_all(&piece).await.unwrap();
            }
        };
        tokio::select! {
            () = writes => {}
            ended = server.shutdown() => ended.unwrap(),
        }
        let end = server.end.expect("it was shut down");
        assert!(end.dropped >= MOST && end.dropped < MOST + PIECE);
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

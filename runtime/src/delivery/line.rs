//! The bytes of a connection: over the network, or within the process of a test.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
#[cfg(all(feature = "testing", feature = "server"))]
use tokio::io::DuplexStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection to a receiver.
#[cfg_attr(
    all(feature = "testing", feature = "server"),
    expect(clippy::large_enum_variant, reason = "the large one is the one that programs use")
)]
pub(super) enum Line {
    Net(TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>),
    #[cfg(all(feature = "testing", feature = "server"))]
    Memory(DuplexStream),
}

/// Calls a method of what the line consists of.
macro_rules! of_line {
    ($line:expr, $stream:ident => $call:expr) => {
        match $line {
            Line::Net($stream) => $call,
            #[cfg(all(feature = "testing", feature = "server"))]
            Line::Memory($stream) => $call,
        }
    };
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        of_line!(&mut *self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        of_line!(&mut *self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_line!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        of_line!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_line!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_line!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        match self {
            Self::Net(stream) => stream.inner().connected(),
            #[cfg(all(feature = "testing", feature = "server"))]
            Self::Memory(_) => Connected::new(),
        }
    }
}

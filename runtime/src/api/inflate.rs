//! Compressed request bodies: they are inflated when all of their bytes have arrived, within the bounds of a body that
//! is not compressed.
//!
//! - A body that arrives slowly holds only its compressed bytes.
//! - A body is inflated twice if it is large: once to learn its size without keeping it, and again when memory of this
//!   size is reserved. So nothing is held while a body waits for memory.
//! - Large bodies are inflated on threads for blocking code, a few at the same time.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use tokio::sync::Semaphore;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::body_memory::{Refused, SMALL, Share};
use super::coding::Coding;

/// How many times larger an inflated body may be than the compressed body, if it is larger than [`SMALL`]. JSON rarely
/// shrinks to less than a fiftieth; a text that shrinks further is made to fill the memory of the server.
pub(super) const MAX_RATIO: usize = 100;
/// The largest compressed body, in bytes, that is inflated on the thread of the HTTP call. It inflates to 400 KiB at
/// most, which takes about a millisecond.
const AT_ONCE: usize = 4 << 10;
/// The largest number of compressed bodies that are inflated on threads for blocking code at the same time. Each may
/// use [`WINDOW_LOG`] of memory beside the body.
const LARGE_AT_ONCE: usize = 2;
/// The longest time for which a compressed body waits until it is inflated. After this time, the client gets an answer
/// that tells the client to retry.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The base-2 logarithm of the largest window of zstd, 8 MiB. RFC 9659 demands that encoders for HTTP use no larger
/// one.
const WINDOW_LOG: u32 = 23;
/// The largest number of members that a body with the coding gzip may have. Clients send one.
const MEMBERS: usize = 1_000;
/// The number of bytes that are inflated at once.
const STEP: usize = 16 << 10;

/// Inflates compressed request bodies.
pub(super) struct Inflater {
    large: Arc<Semaphore>,
    max_body: usize,
}

impl Inflater {
    /// Makes an inflater for bodies of at most `max_body` bytes each.
    pub(super) fn new(max_body: usize) -> Self {
        Self { large: Arc::new(Semaphore::new(LARGE_AT_ONCE)), max_body }
    }

    /// Inflates a body. `share` is the memory of the body. It grows by the size of the inflated body.
    pub(super) async fn inflate(&self, coding: Coding, coded: Bytes, share: &Share) -> Result<Bytes, Refused> {
        if coded.is_empty() {
            return Ok(coded);
        }
        let most = self.max_body.min(SMALL.max(coded.len().saturating_mul(MAX_RATIO)));
        let bounds = Bounds { most, is_by_ratio: most < self.max_body };
        let measured = self.run(&coded, move |coded| measure(coding, coded, bounds)).await?;
        let length = match &measured {
            Measured::Whole(whole) => whole.len(),
            Measured::Length(length) => *length,
        };
        share.take(length).await?;
        share.is_complete();
        match measured {
            Measured::Whole(whole) => Ok(whole.into()),
            Measured::Length(length) => Ok(self.run(&coded, move |coded| fill(coding, coded, length)).await?.into()),
        }
    }

    /// Runs `inflate` on this thread if the body is short, otherwise on a thread for blocking code.
    async fn run<T: Send + 'static>(
        &self,
        coded: &Bytes,
        inflate: impl FnOnce(&[u8]) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        if coded.len() <= AT_ONCE {
            return inflate(coded);
        }
        let turn = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.large).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Refused::NoMemory) };
        let coded = coded.clone();
        let inflated = tokio::task::spawn_blocking(move || {
            let inflated = inflate(&coded);
            drop(turn);
            inflated
        });
        inflated.await.map_err(|_| Refused::NoMemory)?
    }
}

/// The largest size that a body may inflate to, in bytes.
#[derive(Clone, Copy)]
struct Bounds {
    most: usize,
    /// Whether the size follows from [`MAX_RATIO`], and not from the setting for all bodies.
    is_by_ratio: bool,
}

/// What the first inflation of a body has found.
enum Measured {
    /// The whole body, because it is small.
    Whole(Vec<u8>),
    Length(usize),
}

/// Inflates a body to learn its size. Keeps the body only if it is small.
fn measure(coding: Coding, coded: &[u8], bounds: Bounds) -> Result<Measured, Refused> {
    let mut source = Source::new(coding, coded)?;
    let mut step = vec![0; STEP];
    let (mut whole, mut length) = (Vec::new(), 0);
    loop {
        let read = source.read(&mut step)?;
        if read == 0 {
            break;
        }
        length += read;
        if length > bounds.most {
            return Err(if bounds.is_by_ratio { Refused::Ratio } else { Refused::TooLarge });
        }
        if length <= SMALL {
            whole.extend_from_slice(step.get(..read).unwrap_or_default());
        } else {
            whole = Vec::new();
        }
    }
    whole.shrink_to_fit();
    Ok(if length <= SMALL { Measured::Whole(whole) } else { Measured::Length(length) })
}

/// Inflates a body whose size is known.
fn fill(coding: Coding, coded: &[u8], length: usize) -> Result<Vec<u8>, Refused> {
    let mut source = Source::new(coding, coded)?;
    let mut body = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = body.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => return Err(Refused::Coded(coding)),
            read => filled += read,
        }
    }
    Ok(body)
}

/// A decoder with the bytes that it has not decoded yet.
enum Source<'a> {
    Gzip { member: GzDecoder<&'a [u8]>, members: usize },
    Zstd(ZstdDecoder<'a, &'a [u8]>),
}

impl<'a> Source<'a> {
    fn new(coding: Coding, coded: &'a [u8]) -> Result<Self, Refused> {
        match coding {
            Coding::Gzip => Ok(Self::Gzip { member: GzDecoder::new(coded), members: 1 }),
            Coding::Zstd => {
                let decoder = ZstdDecoder::with_buffer(coded).and_then(|mut decoder| {
                    decoder.window_log_max(WINDOW_LOG)?;
                    Ok(decoder)
                });
                decoder.map(Self::Zstd).map_err(|_| Refused::NoMemory)
            }
        }
    }

    /// Inflates the next bytes. Returns how many bytes were inflated. Returns 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Refused> {
        loop {
            match self {
                Self::Zstd(decoder) => return decoder.read(into).map_err(|_| Refused::Coded(Coding::Zstd)),
                Self::Gzip { member, members } => {
                    let read = member.read(into).map_err(|_| Refused::Coded(Coding::Gzip))?;
                    let rest = *member.get_ref();
                    if read > 0 || rest.is_empty() {
                        return Ok(read);
                    }
                    *members += 1;
                    if *members > MEMBERS {
                        return Err(Refused::Coded(Coding::Gzip));
                    }
                    *member = GzDecoder::new(rest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body_memory::BodyMemory;

    const MAX: usize = 1 << 20;

    async fn inflate(coding: Coding, coded: Vec<u8>) -> Result<Bytes, Refused> {
        let memory = BodyMemory::new(MAX);
        let (coded, share) = memory.read(coded.into(), None).await.unwrap();
        Inflater::new(MAX).inflate(coding, coded, &share).await
    }

    /// Text that shrinks to about a fifth.
    fn text(length: usize) -> Vec<u8> {
        let mut n = 1_u32;
        let next = |_| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"ab01"[n as usize >> 30]
        };
        (0..length).map(next).collect()
    }

    #[tokio::test]
    async fn bodies_of_every_size_come_back_as_they_were() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            for length in [0, 1, SMALL - 1, SMALL, SMALL + 1, MAX] {
                let text = text(length);
                let inflated = inflate(coding, coding.encode(&text).unwrap()).await.unwrap();
                assert!(inflated == text, "{coding:?} {length}");
            }
            assert_eq!(inflate(coding, coding.encode(&text(MAX + 1)).unwrap()).await, Err(Refused::TooLarge));
        }
        for coding in [Coding::Gzip, Coding::Zstd] {
            assert_eq!(inflate(coding, Vec::new()).await.unwrap(), "", "{coding:?}: nothing stays nothing");
        }
    }

    #[tokio::test]
    async fn a_body_of_several_members_is_one_body() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let coded = [coding.encode(b"[1,").unwrap(), coding.encode(b"2]").unwrap()].concat();
            assert_eq!(inflate(coding, coded).await.unwrap(), "[1,2]", "{coding:?}");
        }
        let empty = Coding::Gzip.encode(b"").unwrap();
        assert!(inflate(Coding::Gzip, empty.repeat(MEMBERS)).await.is_ok());
        assert_eq!(inflate(Coding::Gzip, empty.repeat(MEMBERS + 1)).await, Err(Refused::Coded(Coding::Gzip)));
    }

    #[tokio::test]
    async fn what_inflates_too_much_is_refused() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let bomb = coding.encode(&vec![b' '; MAX]).unwrap();
            assert!(bomb.len() < MAX / MAX_RATIO, "{}", bomb.len());
            assert_eq!(inflate(coding, bomb).await, Err(Refused::Ratio), "{coding:?}");
            let small = coding.encode(&vec![b' '; SMALL]).unwrap();
            assert_eq!(inflate(coding, small).await.unwrap().len(), SMALL, "{coding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_coded_as_it_says_is_refused() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let coded = coding.encode(&text(10_000)).unwrap();
            let cut = coded[..coded.len() - 1].to_vec();
            let more = [&*coded, b"x"].concat();
            for broken in [cut, more, b"{}".to_vec(), coded[..5].to_vec()] {
                assert_eq!(inflate(coding, broken.clone()).await, Err(Refused::Coded(coding)), "{broken:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_window_that_is_too_large_is_refused() {
        use std::io::Write as _;
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(WINDOW_LOG + 1).unwrap();
        encoder.write_all(&text(MAX / 2)).unwrap();
        encoder.flush().unwrap();
        encoder.write_all(&text(MAX / 2)).unwrap();
        let coded = encoder.finish().unwrap();
        assert_eq!(inflate(Coding::Zstd, coded).await, Err(Refused::Coded(Coding::Zstd)));
    }
}

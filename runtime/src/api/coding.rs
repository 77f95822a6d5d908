//! Content codings: which coding a request's body has, which coding an answer may have, and the encoder of answers.

use std::io::{self, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zstd::stream::write::Encoder as ZstdEncoder;

/// The largest number of answers that are compressed at the same time while their clients read them. An encoder uses up
/// to 1 MiB of memory until its client has read the answer. If all encoders are in use, answers are not compressed.
const ENCODERS: usize = 32;
/// The level of gzip and of zstd. Higher levels would occupy the threads of the API for longer.
const LEVEL: i32 = 1;
/// The base-2 logarithm of the size of an encoder's window for zstd. The window takes most of the encoder's memory.
const WINDOW_LOG: u32 = 18;

/// A content coding that the server can decode and encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    /// Returns the coding of a request's body. Returns `None` if the body is not coded, or has another coding, which
    /// the server leaves as it is.
    pub(super) fn of_body(headers: &HeaderMap) -> Option<Self> {
        let mut codings = list(headers, &CONTENT_ENCODING).filter(|coding| !matches!(&**coding, "" | "identity"));
        let coding = codings.next()?;
        codings.next().is_none().then(|| Self::named(&coding)).flatten()
    }

    /// Returns the coding that the client wants for the answer. Returns `None` if the client asks for no coding that
    /// the server knows, or prefers the answer as it is.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accepted: Vec<_> = list(headers, &ACCEPT_ENCODING).map(|part| weighed(&part)).collect();
        let weight = |wanted: fn(&str) -> bool| {
            accepted.iter().filter(|(name, _)| wanted(name)).map(|(_, weight)| *weight).max()
        };
        let of = |coding| match coding {
            Self::Gzip => weight(|name| Self::named(name) == Some(Self::Gzip)),
            Self::Zstd => weight(|name| Self::named(name) == Some(Self::Zstd)),
        };
        let plain = weight(|name| name == "identity").unwrap_or(0);
        let mut best = None;
        for coding in Self::ALL {
            let weight = of(coding).unwrap_or(0);
            if weight > 0 && weight >= plain && best.is_none_or(|(_, most)| weight > most) {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the value of the header `content-encoding` for an answer with this coding.
    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// Encodes a short text at once.
    pub(super) fn encode(self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = Encoder::new(self, None)?;
        let mut coded = encoder.push(text)?;
        coded.extend(encoder.finish()?);
        Ok(coded)
    }
}

/// The parts of a header whose value is a list. Letters are in lower case, and a header may be given several times.
fn list<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = String> + 'a {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.flat_map(|value| value.split(',').map(|part| part.trim().to_ascii_lowercase()).collect::<Vec<_>>())
}

/// Splits a part of the header `accept-encoding` into the name and its weight in thousandths. The weight of a malformed
/// part is 0.
fn weighed(part: &str) -> (String, u32) {
    let mut parts = part.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_owned();
    let weight = match parts.next().and_then(|parameter| parameter.strip_prefix("q=")) {
        None => 1_000,
        Some(text) => match text.parse::<f32>() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
            Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1_000.0) as u32,
            _ => 0,
        },
    };
    (name, weight)
}

/// The encoders that may be in use at the same time.
pub(super) struct Encoders(Arc<Semaphore>);

impl Encoders {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ENCODERS)))
    }

    /// Returns an encoder. Returns `None` if all encoders are in use.
    pub(super) fn take(&self, coding: Coding) -> Option<Encoder> {
        let turn = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Encoder::new(coding, Some(turn)).ok()
    }
}

/// Encodes one answer, piece by piece.
pub(super) struct Encoder {
    into: Into,
    _turn: Option<OwnedSemaphorePermit>,
}

enum Into {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding, turn: Option<OwnedSemaphorePermit>) -> io::Result<Self> {
        let into = match coding {
            Coding::Gzip => Into::Gzip(GzEncoder::new(Vec::new(), Compression::new(LEVEL.unsigned_abs()))),
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), LEVEL)?;
                encoder.window_log(WINDOW_LOG)?;
                Into::Zstd(encoder)
            }
        };
        Ok(Self { into, _turn: turn })
    }

    /// Encodes a piece. Returns the bytes that are complete, which may be none.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let coded = match &mut self.into {
            Into::Gzip(encoder) => {
                encoder.write_all(piece)?;
                encoder.get_mut()
            }
            Into::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(coded))
    }

    /// Returns the last bytes.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self.into {
            Into::Gzip(encoder) => encoder.finish(),
            Into::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn headers(name: &http::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_coding_of_a_body_is_one_that_is_known() {
        let of = |values: &[&str]| Coding::of_body(&headers(&CONTENT_ENCODING, values));
        for gzip in [&["gzip"][..], &["GZip"], &["x-gzip"], &["identity, gzip"], &["identity", "gzip"], &["gzip,"]] {
            assert_eq!(of(gzip), Some(Coding::Gzip), "{gzip:?}");
        }
        assert_eq!(of(&["zstd"]), Some(Coding::Zstd));
        for other in [&[][..], &[""], &["identity"], &["br"], &["gzip, gzip"], &["gzip", "zstd"], &["gzip;q=1"]] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_answer_is_coded_if_the_client_prefers_that() {
        let of = |values: &[&str]| Coding::accepted(&headers(&ACCEPT_ENCODING, values));
        for (values, expected) in [
            (&["gzip"][..], Some(Coding::Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Coding::Zstd)),
            (&["gzip", "zstd;q=0.9"], Some(Coding::Gzip)),
            (&["GZIP ; q=0.001"], Some(Coding::Gzip)),
            (&["gzip;q=0.5, identity;q=0.4"], Some(Coding::Gzip)),
            (&["gzip;q=0.5, identity"], None),
            (&["gzip;q=0, zstd;q=0.0"], None),
            (&["gzip;q=2, zstd;q=x"], None),
            (&["identity"], None),
            (&["*"], None),
            (&["br"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(of(values), expected, "{values:?}");
        }
    }

    #[test]
    fn pieces_become_one_text() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|n| (n % 1_000).to_string().into_bytes()).collect();
        for coding in Coding::ALL {
            let mut encoder = Encoders::new().take(coding).unwrap();
            let mut coded = Vec::new();
            for piece in text.chunks(10_000) {
                coded.extend(encoder.push(piece).unwrap());
            }
            coded.extend(encoder.finish().unwrap());
            assert!(coded.len() < text.len() / 2, "{coding:?}: {}", coded.len());
            let mut read = Vec::new();
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*coded).read_to_end(&mut read).unwrap(),
                Coding::Zstd => zstd::stream::read::Decoder::new(&*coded).unwrap().read_to_end(&mut read).unwrap(),
            };
            assert_eq!(read, text);
        }
    }

    #[test]
    fn encoders_that_are_in_use_are_counted() {
        let encoders = Encoders::new();
        let mut taken: Vec<_> = (0..ENCODERS).map(|_| encoders.take(Coding::Gzip).unwrap()).collect();
        assert!(encoders.take(Coding::Zstd).is_none());
        taken.pop();
        assert!(encoders.take(Coding::Zstd).is_some());
    }
}

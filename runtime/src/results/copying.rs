//! Copies a result into its place, and digests it on the way.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use object_store::buffered::BufWriter;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::{CHUNK, Content, KeepError};

/// Why a copy has ended early. The place has no name here.
pub(super) enum Stopped {
    Unreadable { path: PathBuf, source: std::io::Error },
    TooLarge { max: u64 },
    Refused(object_store::Error),
}

impl Stopped {
    pub(super) fn named(self, place: &str) -> KeepError {
        match self {
            Self::Unreadable { path, source } => KeepError::Unreadable { path, source },
            Self::TooLarge { max } => KeepError::TooLarge { max },
            Self::Refused(source) => KeepError::Refused { place: place.to_owned(), source },
        }
    }
}

fn refused(error: std::io::Error) -> Stopped {
    Stopped::Refused(object_store::Error::Generic { store: "results", source: error.into() })
}

/// What is left to be copied, and the digest of what was.
struct Rest {
    from: From,
    digest: Sha256,
}

enum From {
    Bytes(Bytes),
    File(File, PathBuf),
}

impl Rest {
    fn open(content: &Content) -> Result<Self, Stopped> {
        let of_file = |path: PathBuf| match File::open(&path) {
            Ok(file) => Ok(From::File(file, path)),
            Err(source) => Err(Stopped::Unreadable { path, source }),
        };
        let from = match content {
            Content::Bytes(bytes) => From::Bytes(bytes.clone()),
            Content::File(path) => of_file(path.clone())?,
            Content::Spooled(path) => of_file(path.to_path_buf())?,
        };
        Ok(Self { from, digest: Sha256::new() })
    }

    /// Returns the next bytes, or none at the end.
    fn next(&mut self) -> Result<Bytes, Stopped> {
        let chunk = match &mut self.from {
            From::Bytes(bytes) => bytes.split_to(bytes.len().min(CHUNK)),
            From::File(file, path) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = file.take(CHUNK as u64).read_to_end(&mut chunk);
                read.map_err(|source| Stopped::Unreadable { path: path.clone(), source })?;
                chunk.into()
            }
        };
        self.digest.update(&chunk);
        Ok(chunk)
    }
}

/// Copies a result. Returns its size and its digest, in the form of the header `repr-digest`. At most a chunk, and the
/// part that is being uploaded, are in memory at once.
pub(super) async fn copy(content: &Content, max: u64, to: &mut BufWriter) -> Result<(u64, String), Stopped> {
    let written = write(content, max, to).await;
    if written.is_err() {
        // Of what was uploaded in vain, the place may keep parts. It removes them by its own rules.
        let _ = to.abort().await;
    }
    let written = written?;
    // After this, the writer must not be told to abort.
    to.shutdown().await.map_err(refused)?;
    Ok(written)
}

async fn write(content: &Content, max: u64, to: &mut BufWriter) -> Result<(u64, String), Stopped> {
    let mut rest = Rest::open(content)?;
    let mut size = 0;
    loop {
        // Reading a file and digesting a chunk take too long for a thread that serves others.
        let read = tokio::task::spawn_blocking(move || rest.next().map(|chunk| (chunk, rest)));
        let read = read.await.map_err(|error| refused(std::io::Error::other(error)))?;
        let (chunk, left) = read?;
        rest = left;
        if chunk.is_empty() {
            break;
        }
        size += chunk.len() as u64;
        if size > max {
            return Err(Stopped::TooLarge { max });
        }
        to.put(chunk).await.map_err(Stopped::Refused)?;
    }
    Ok((size, format!("sha-256=:{}:", BASE64_STANDARD.encode(rest.digest.finalize()))))
}

//! Copies a result into its place, and digests it on the way.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use object_store::buffered::BufWriter;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::{CHUNK, Content, KeepError};

/// Why a copy has ended early. The place has no name here.
pub(super) enum Stopped {
    Unreadable { path: PathBuf, source: io::Error },
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

fn refused(error: io::Error) -> Stopped {
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
    /// Opens the content. This blocks the thread.
    fn open(content: &Content) -> Result<Self, Stopped> {
        let from = match content {
            Content::Bytes(bytes) => From::Bytes(bytes.clone()),
            Content::File(path) => {
                let opened = opened(path).map_err(|source| Stopped::Unreadable { path: path.clone(), source })?;
                From::File(opened, path.clone())
            }
            Content::Spooled(spooled) => {
                let again = spooled.try_clone().and_then(|mut file| file.rewind().map(|()| file));
                From::File(again.map_err(refused)?, PathBuf::new())
            }
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

/// Opens a file. A pipe or a device could block a thread for ever.
fn opened(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    File::open(path)
}

/// Copies a result. Returns its size and its digest, in the form of the header `repr-digest`. At most a chunk, and the
/// part that is being uploaded, are in memory at once.
pub(super) async fn copy(content: &Arc<Content>, max: u64, to: &mut BufWriter) -> Result<(u64, String), Stopped> {
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

async fn write(content: &Arc<Content>, max: u64, to: &mut BufWriter) -> Result<(u64, String), Stopped> {
    let content = Arc::clone(content);
    let opened = tokio::task::spawn_blocking(move || Rest::open(&content)).await;
    let mut rest = opened.map_err(|error| refused(io::Error::other(error)))??;
    let mut size = 0;
    loop {
        // Reading a file and digesting a chunk take too long for a thread that serves others.
        let read = tokio::task::spawn_blocking(move || rest.next().map(|chunk| (chunk, rest)));
        let read = read.await.map_err(|error| refused(io::Error::other(error)))?;
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

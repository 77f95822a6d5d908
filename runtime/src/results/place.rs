//! Where results are kept: a folder, an object store, or the memory of the process.

use std::fmt;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutPayload};
use url::Url;

use postback_store::RequestClaim;
use postback_wire::id::RequestId;
use postback_wire::line::Causes;

/// What stands between the id of a request and the number of the claim in the name of an object.
pub(super) const EPOCH: &str = ".e";
/// The largest number of bytes of a place in memory.
const MEMORY: u64 = 256 << 20;
/// How long a place may take to answer at the start.
pub(super) const PROBE: Duration = Duration::from_secs(10);

/// Signs a URL that opens an object for a time.
pub(super) type Sign = Arc<dyn Fn(Path, Duration) -> BoxFuture<'static, Result<String, Error>> + Send + Sync>;

/// A place for results.
#[derive(Clone)]
pub(crate) struct Place {
    pub(super) objects: Arc<dyn ObjectStore>,
    signer: Option<Sign>,
    base: Path,
    /// The folder, if the objects are files.
    pub(super) folder: Option<PathBuf>,
    /// Whether the name of the folder is that of the database, and nobody has chosen it.
    pub(super) is_beside_store: bool,
    /// How many bytes are in the memory. `None`: the objects are elsewhere.
    filled: Option<Arc<AtomicU64>>,
    /// The place as messages name it.
    pub(super) shown: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.shown).finish()
    }
}

/// The schemes that a place can have, for messages.
const SCHEMES: &str = "\"file:///FOLDER\", \"s3://BUCKET/PREFIX\", \"gs://BUCKET/PREFIX\" or \"az://CONTAINER/PREFIX\"";

impl Place {
    /// Reads a URL. The error says what is wanted instead, and does not repeat the URL. Credentials come from the
    /// environment variables that the tools of the object store use.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| SCHEMES.to_owned())?;
        if url.scheme() == "file" {
            let folder = url.to_file_path().map_err(|()| SCHEMES.to_owned())?;
            return Self::folder(&folder);
        }
        let base = Path::from_url_path(url.path()).map_err(|_| SCHEMES.to_owned())?;
        let (objects, signer) =
            super::cloud::open(&url).map_err(|error| error.unwrap_or_else(|| SCHEMES.to_owned()))?;
        let shown = format!("{}://{}/{base}", url.scheme(), url.host_str().unwrap_or_default());
        Ok(Self { objects, signer: Some(signer), base, folder: None, is_beside_store: false, filled: None, shown })
    }

    /// The place of a folder, which is made when the first result comes.
    pub(crate) fn folder(folder: &FilePath) -> Result<Self, String> {
        let absolute = std::path::absolute(folder).map_err(|error| format!("a folder that can be found ({error})"))?;
        let base = Path::from_absolute_path(&absolute).map_err(|_| "a folder whose name is UTF-8".to_owned())?;
        let objects = Arc::new(LocalFileSystem::new().with_fsync(true));
        let shown = absolute.display().to_string();
        Ok(Self { objects, signer: None, base, folder: Some(absolute), is_beside_store: false, filled: None, shown })
    }

    /// Whether the place is a folder that is not there yet. It is made when the first result comes.
    pub(super) fn is_missing(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| !folder.exists())
    }

    /// The same folder, which is beside the database and has its name.
    #[cfg(feature = "sqlite")]
    pub(crate) fn beside_store(self) -> Self {
        Self { is_beside_store: true, ..self }
    }

    /// A place that ends with the process.
    pub(crate) fn memory() -> Self {
        let objects = Arc::new(InMemory::new());
        Self {
            objects,
            signer: None,
            base: Path::default(),
            folder: None,
            is_beside_store: false,
            filled: Some(Arc::default()),
            shown: "the memory of the process".to_owned(),
        }
    }

    /// Returns the place as messages and settings name it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the place ends with the process.
    pub(super) fn is_memory(&self) -> bool {
        self.filled.is_some()
    }

    /// Returns the name of the object that a claim writes.
    pub(super) fn object(&self, claim: &RequestClaim) -> Path {
        self.named(&format!("{}{EPOCH}{}", claim.id, claim.epoch))
    }

    /// Returns the path of the object with this name.
    pub(super) fn named(&self, name: &str) -> Path {
        self.base.clone().join(name)
    }

    /// Returns the part of the names that all objects of this place share. `None`: they share none.
    pub(super) fn prefix(&self) -> Option<&Path> {
        Some(&self.base).filter(|base| !base.as_ref().is_empty())
    }

    /// Makes the folder, if the place is one. Only the user of the server may open it.
    ///
    /// This blocks the thread.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }

    /// Signs a URL. `None`: the place signs none, or not with these credentials. Then the server's own URL serves.
    pub(super) async fn signed(&self, path: &Path, lasts: Duration) -> Option<String> {
        let signed = self.signer.as_ref()?(path.clone(), lasts).await;
        signed.inspect_err(|error| tracing::debug!("no URL in {} can be signed: {}", self.shown, Causes(error))).ok()
    }

    /// Counts an object that was written to the memory. If there is no more room, deletes it again and returns an error.
    pub(super) async fn fill(&self, path: &Path, size: u64) -> Result<(), Error> {
        let Some(filled) = &self.filled else { return Ok(()) };
        if filled.fetch_add(size, Ordering::Relaxed) + size > MEMORY {
            self.delete(path, size).await?;
            let full = format!("it has {} MiB; set results.url to a folder", MEMORY >> 20);
            return Err(Error::Generic { store: "memory", source: full.into() });
        }
        Ok(())
    }

    /// Deletes an object of this size.
    pub(super) async fn delete(&self, path: &Path, size: u64) -> Result<(), Error> {
        self.objects.delete(path).await?;
        if let Some(filled) = &self.filled {
            filled.fetch_sub(size, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tries whether the place takes objects. Nothing is tried where the place is a folder that nobody has made yet, or
    /// the memory.
    pub(super) async fn probe(&self) -> Result<(), Error> {
        if self.signer.is_none() && self.folder.as_ref().is_none_or(|folder| !folder.exists()) {
            return Ok(());
        }
        let claim = RequestClaim { id: RequestId::generate(), epoch: 0 };
        let path = self.object(&claim);
        let tried = async {
            self.objects.put(&path, PutPayload::from_static(b"a test at the start")).await?;
            self.objects.delete(&path).await
        };
        tokio::time::timeout(PROBE, tried).await.unwrap_or_else(|elapsed| {
            Err(Error::Generic { store: "results", source: format!("it does not answer: {elapsed}").into() })
        })
    }
}

/// Makes the error of a folder.
pub(super) fn unusable(error: io::Error) -> Error {
    Error::Generic { store: "folder", source: error.into() }
}

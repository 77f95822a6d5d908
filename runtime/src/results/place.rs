//! Where results are kept: a folder, an object store, or the memory of the process.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutPayload};
use url::Url;

use postback_store::RequestClaim;
use postback_wire::id::RequestId;

/// What stands between the id of a request and the number of the claim in the name of an object.
pub(super) const EPOCH: &str = ".e";
/// The folder of streams that are being written, within a folder of results.
pub(super) const INCOMING: &str = ".incoming";
/// How long a place may take to answer at the start.
const PROBE: Duration = Duration::from_secs(10);

/// A place for results.
#[derive(Clone)]
pub(crate) struct Place {
    pub(super) objects: Arc<dyn ObjectStore>,
    signer: Option<Arc<dyn Signer>>,
    base: Path,
    /// The folder, if the objects are files.
    pub(super) folder: Option<PathBuf>,
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
        Ok(Self { objects, signer: Some(signer), base, folder: None, shown })
    }

    /// The place of a folder, which is made when the first result comes.
    pub(crate) fn folder(folder: &FilePath) -> Result<Self, String> {
        let absolute = std::path::absolute(folder).map_err(|error| format!("a folder that can be found ({error})"))?;
        let base = Path::from_absolute_path(&absolute).map_err(|_| "a folder whose name is UTF-8".to_owned())?;
        let objects = Arc::new(LocalFileSystem::new().with_fsync(true));
        let shown = absolute.display().to_string();
        Ok(Self { objects, signer: None, base, folder: Some(absolute), shown })
    }

    /// A place that ends with the process.
    pub(crate) fn memory() -> Self {
        let objects = Arc::new(InMemory::new());
        Self {
            objects,
            signer: None,
            base: Path::default(),
            folder: None,
            shown: "the memory of the process".to_owned(),
        }
    }

    /// Returns the place as messages and settings name it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns the name of the object that a claim writes.
    pub(super) fn object(&self, claim: &RequestClaim) -> Path {
        self.base.clone().join(format!("{}{EPOCH}{}", claim.id, claim.epoch))
    }

    /// Returns the part of the names that all objects of this place share. `None`: they share none.
    pub(super) fn prefix(&self) -> Option<&Path> {
        Some(&self.base).filter(|base| !base.as_ref().is_empty())
    }

    /// Makes the folder, if the place is one. Only the user of the server may open it.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder.join(INCOMING)).map_err(|error| Error::Generic { store: "folder", source: error.into() })
    }

    /// Signs a URL. `None`: the place signs none.
    pub(super) async fn signed(&self, path: &Path, lasts: Duration) -> Option<Result<String, Error>> {
        let signer = self.signer.as_ref()?;
        Some(signer.signed_url(Method::GET, path, lasts).await.map(String::from))
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

//! Results that are kept outside the store: as files of a folder, or as objects of an object store.
//!
//! The store has the outcome, and a [`StoredResult`] in the place of the result. The name of an object follows from the
//! id of its request and from the claim under which it was written. So what one caller brings about never opens the
//! result of another, and what a stale run has written is never taken for the result.

mod cloud;
mod copying;
mod leftovers;
mod mark;
mod place;
mod sweep;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStoreExt as _};
use tokio::sync::OnceCell;
use url::Url;

pub(crate) use self::mark::MarkError;
use self::mark::Owner;
pub(crate) use self::place::Place;
pub(crate) use self::sweep::sweep;
use postback_store::{RequestClaim, Store};
use postback_wire::line::Causes;
use postback_wire::names::metric;
use postback_wire::report::{Json, StoredResult};
use postback_wire::time::Timestamp;

/// How many bytes are read, digested and handed on at once.
const CHUNK: usize = 1 << 20;
/// How many bytes of one result are in memory while it is uploaded in parts. Object stores take no smaller parts.
const PART: usize = 8 << 20;
/// How long a signed URL works at most. Object stores sign none for longer.
const SIGNED_FOR: Duration = Duration::from_hours(7 * 24);

/// How long a place may take to answer with a part of a result. Memory for answers is held meanwhile.
const READ: Duration = Duration::from_secs(10);

/// Where results are kept, and which.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `None`: results are kept in the store only.
    pub(crate) place: Option<Place>,
    /// The largest JSON, in bytes, that is kept in the store.
    pub(crate) max_inline: usize,
    /// The largest result, in bytes.
    pub(crate) max_size: u64,
    /// Where callers reach the API. `None`: the URL of a result is a path.
    pub(crate) server_url: Option<Url>,
}

impl Default for Options {
    fn default() -> Self {
        Self { place: None, max_inline: usize::MAX, max_size: u64::MAX, server_url: None }
    }
}

impl Options {
    /// Keeps replies in the memory of the process, and all JSON in the store.
    pub(crate) fn in_memory(self) -> Self {
        Self { place: Some(Place::memory()), max_inline: usize::MAX, ..self }
    }
}

/// The bytes of a result, before they are kept.
#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    File(PathBuf),
    /// A file without a name. It is gone when this value is dropped, or when the process ends.
    Spooled(File),
}

/// Why a result is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// Another try would fail in the same way.
    #[error("its file {path} cannot be read", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("it has more than {max} bytes (results.max_size)")]
    TooLarge { max: u64 },
    /// The place may take it later.
    #[error("{place} does not take it")]
    Refused { place: String, source: object_store::Error },
}

impl KeepError {
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// A result that is to be kept.
pub(crate) struct Keep<'a> {
    pub(crate) route: &'a str,
    pub(crate) claim: &'a RequestClaim,
    pub(crate) content_type: &'a str,
    pub(crate) content: &'a Arc<Content>,
    /// How long the request stays in the store. `None`: as long as those of other routes.
    pub(crate) retention: Option<Duration>,
}

/// The place of the results of one server.
#[derive(Debug)]
pub(crate) struct Results {
    place: Place,
    /// Whose results these are. If it is empty, the place needs no mark.
    owner: OnceLock<Owner>,
    /// Set when the place has the mark of the owner.
    is_marked: OnceCell<()>,
    max_inline: usize,
    max_size: u64,
    server_url: Option<Url>,
    retention: Duration,
}

impl Results {
    /// Returns the place of results, if there is one. Without an own limit of their route, requests stay in the store
    /// for `retention`.
    pub(crate) fn of(options: &Options, retention: Duration) -> Option<Self> {
        let Options { place, max_inline, max_size, server_url } = options.clone();
        let (owner, is_marked) = (OnceLock::new(), OnceCell::new());
        Some(Self { place: place?, owner, is_marked, max_inline, max_size, server_url, retention })
    }

    /// Says whose results these are, so that the place gets the mark of this store.
    pub(crate) fn belong_to(&self, store: &Store) {
        self.owner.get_or_init(|| Owner { store: store.id().map(Box::from) });
    }

    /// Whether a result of so many bytes of JSON is kept here, and not in the store.
    pub(crate) fn takes(&self, json: &Json) -> bool {
        json.bytes().len() > self.max_inline
    }

    /// Returns where results are, for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.place.shown
    }

    /// Makes a file without a name, into which a stream is written before it is kept. This blocks the thread.
    pub(crate) fn spool(&self) -> io::Result<File> {
        self.place.prepare()?;
        tempfile::tempfile_in(self.place.folder.as_deref().unwrap_or(&std::env::temp_dir()))
    }

    pub(crate) fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Writes a result. Returns what stands in its place in the outcome.
    pub(crate) async fn keep(&self, keep: &Keep<'_>, now: Timestamp) -> Result<Json, KeepError> {
        let Keep { claim, content_type, .. } = keep;
        let path = self.place.object(claim);
        let refused = |source| KeepError::Refused { place: self.place.shown.clone(), source };
        let place = self.place.clone();
        let prepared = tokio::task::spawn_blocking(move || place.prepare()).await;
        prepared.map_err(io::Error::other).flatten().map_err(|error| refused(place::unusable(error)))?;
        let of_mark = |error: MarkError| object_store::Error::Generic { store: "results", source: error.into() };
        self.take_place().await.map_err(of_mark).map_err(refused)?;
        // An object store that signs nothing should not get the bytes again and again.
        let lasts = keep.retention.unwrap_or(self.retention).min(SIGNED_FOR);
        let signed = self.place.signed(&path, lasts).await;
        let mut writer =
            BufWriter::with_capacity(Arc::clone(&self.place.objects), path.clone(), PART).with_max_concurrency(1);
        if self.place.folder.is_none() {
            let of_type = (Attribute::ContentType, (*content_type).to_owned());
            writer = writer.with_attributes(Attributes::from_iter([of_type]));
        }
        let copied = copying::copy(keep.content, self.max_size, &mut writer).await;
        let (size, digest) = copied.map_err(|stopped| stopped.named(&self.place.shown))?;
        let mut stored = StoredResult::new(String::new(), size, (*content_type).to_owned(), digest, claim.epoch);
        self.place.fill(&path, size).await.map_err(refused)?;
        stored.expires = signed.as_ref().map(|_| now.saturating_add(lasts).to_string());
        stored.result_url = signed.unwrap_or_else(|| self.url_of_api(keep));
        let of_route = || keep.route.to_owned();
        metrics::counter!(metric::RESULTS_KEPT, "route" => of_route()).increment(1);
        metrics::counter!(metric::RESULTS_KEPT_BYTES, "route" => of_route()).increment(size);
        let json = Json::of(&stored).ok().flatten();
        // A struct of texts and numbers is always JSON.
        Ok(json.unwrap_or_else(|| Json::string("stored")))
    }

    fn url_of_api(&self, keep: &Keep<'_>) -> String {
        let path = format!("{}/{}/result", keep.route, keep.claim.id);
        match &self.server_url {
            Some(url) => format!("{}{path}", url.as_str().trim_end_matches('/')),
            None => path,
        }
    }

    /// Reads a part of a result. `None`: the result is gone.
    pub(crate) async fn read(&self, claim: &RequestClaim, range: Range<u64>) -> Result<Option<Bytes>, String> {
        let path = self.place.object(claim);
        match tokio::time::timeout(READ, self.place.objects.get_range(&path, range)).await {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(Causes(&error).to_string()),
            Err(_) => Err(format!("{} does not answer within {} s", self.place.shown, READ.as_secs())),
        }
    }

    /// Tries whether the place takes objects. A place that does not is logged: runs that have ended then wait until it
    /// does.
    pub(crate) async fn try_out(&self) {
        if let Err(error) = self.place.probe().await {
            let (place, why) = (&self.place.shown, Causes(&error));
            tracing::error!("results cannot be kept in {place}, so requests whose results are large wait: {why}");
        }
    }
}

/// Returns the claim whose run has written the object with this name.
fn claim_of(path: &Path) -> Option<RequestClaim> {
    claim_of_name(path.filename()?)
}

fn claim_of_name(name: &str) -> Option<RequestClaim> {
    let (id, epoch) = name.rsplit_once(place::EPOCH)?;
    Some(RequestClaim { id: id.parse().ok()?, epoch: epoch.parse().ok()? })
}

#[cfg(test)]
mod tests;

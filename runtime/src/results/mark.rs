//! Says to which store a place of results belongs. The sweep deletes what its store does not know. So two stores in one
//! place would delete the results of each other.
//!
//! Invariant: no result is written to a place and none is deleted there before the place has the mark of this store. The
//! mark is read again before each sweep, because somebody may have changed it. A store in memory has no mark, and deletes
//! nothing in a place of others.
//!
//! The folder beside a database belongs to that database. So if the database is deleted, the next one takes over the
//! folder. But after a move to another database, the new store may have the same folder, and its mark says that somebody
//! has chosen the place. Nobody takes over such a place.

use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _, PutMode, PutOptions};

use super::Results;
use super::place::PROBE;

/// The name of the object that has the id of the store. No result has this name.
pub(super) const NAME: &str = ".postback-store";
/// What stands after the id in the mark of a place that the settings name.
const CHOSEN: &str = " chosen";
/// The largest object that is read as a mark, in bytes.
const MAX_MARK: u64 = 1_024;
/// How often the mark is read, if other nodes write it at the same time.
const TRIES: usize = 3;

/// Whose results a place has.
#[derive(Debug)]
pub(super) struct Owner {
    /// The id of the store. `None`: the store is in memory, and its id would end with the process.
    pub(super) store: Option<Box<str>>,
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkError {
    #[error(
        "results.url: {place} belongs to another store, and each store deletes the results that it does not know; give \
         each store a folder or a prefix of its own. If the other store is gone, delete {NAME} there (it says \
         {found:?}, and this store is {own:?})"
    )]
    OfAnother { place: String, found: String, own: String },
    #[error("{place} cannot be marked as the place of this store")]
    Refused { place: String, source: Error },
}

impl Results {
    /// Checks that the place has the mark of this store, and writes the mark if the place has none. Returns `false` if the
    /// place is a folder that is not there yet.
    pub(crate) async fn take_place(&self) -> Result<bool, MarkError> {
        let Some(owner) = self.owner.get().filter(|_| !self.place.is_memory()) else { return Ok(true) };
        if self.place.is_missing() {
            return Ok(false);
        }
        self.is_marked.get_or_try_init(|| self.mark(owner)).await.map(|()| true)
    }

    /// Whether this store may delete results in the place now: it has the mark of this store.
    pub(super) async fn may_sweep(&self) -> Result<bool, MarkError> {
        let Some(owner) = self.owner.get().filter(|_| !self.place.is_memory()) else { return Ok(true) };
        if owner.store.is_none() || self.place.is_missing() {
            return Ok(false);
        }
        self.mark(owner).await.map(|()| true)
    }

    async fn mark(&self, owner: &Owner) -> Result<(), MarkError> {
        let checked = tokio::time::timeout(PROBE, self.mark_in_time(owner)).await;
        let refused = |source| MarkError::Refused { place: self.place.shown.clone(), source };
        let other = match checked {
            Ok(checked) => checked.map_err(refused)?,
            Err(elapsed) => {
                let why = format!("it does not answer: {elapsed}").into();
                return Err(refused(Error::Generic { store: "results", source: why }));
            }
        };
        other.map_or(Ok(()), |found| {
            let own = owner.store.as_deref().unwrap_or("in memory").to_owned();
            Err(MarkError::OfAnother { place: self.place.shown.clone(), found, own })
        })
    }

    /// Returns what the mark says if it is that of another store.
    async fn mark_in_time(&self, owner: &Owner) -> Result<Option<String>, Error> {
        let (place, path) = (&self.place, self.place.named(NAME));
        let mut found = None;
        let mark_of = |own: &str| if place.is_beside_store { own.to_owned() } else { format!("{own}{CHOSEN}") };
        for _ in 0..TRIES {
            found = self.read_mark(&path).await?;
            match (&found, &owner.store) {
                (Some(found), Some(own)) if found.strip_suffix(CHOSEN).unwrap_or(found) == &**own => {
                    if !place.is_beside_store && !found.ends_with(CHOSEN) {
                        place.objects.put(&path, mark_of(own).into()).await?;
                    }
                    return Ok(None);
                }
                (Some(found), Some(own)) if place.is_beside_store && !found.ends_with(CHOSEN) => {
                    tracing::warn!(
                        "{} has results of the store {found}, which was beside it before; those that the database does \
                         not know are deleted",
                        place.shown
                    );
                    place.objects.put(&path, mark_of(own).into()).await?;
                }
                (Some(_), _) => break,
                (None, None) => return Ok(None),
                (None, Some(own)) => self.write_mark(&path, mark_of(own)).await?,
            }
        }
        Ok(found)
    }

    async fn read_mark(&self, path: &Path) -> Result<Option<String>, Error> {
        let found = match self.place.objects.get(path).await {
            // Without the right to list, S3 says that the right to read is missing, and not that there is nothing.
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => return Ok(None),
            found => found?,
        };
        if found.meta.size > MAX_MARK {
            return Ok(Some(format!("{} bytes", found.meta.size)));
        }
        Ok(Some(String::from_utf8_lossy(&found.bytes().await?).trim().to_owned()))
    }

    /// Writes the mark, unless somebody else is faster. The next look tells who was.
    async fn write_mark(&self, path: &Path, mark: String) -> Result<(), Error> {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.place.objects.put_opts(path, mark.clone().into(), create).await {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
            // Not every folder and not every object store can write only what is not there, and they say so in many ways.
            Err(error) => {
                tracing::debug!(%error, "the mark of the store is written without a condition");
                self.place.objects.put(path, mark.into()).await.map(drop)
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;

//! The section `[results]`: where large results are kept.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::mismatch::{Mismatch, expected};
use super::read;
use super::section::Section;
use super::tree::Node;
use crate::results::{self, Place};
use postback_store::Location;

/// The allowed values of `store.max_inline`, in bytes.
pub(super) const MAX_INLINE: RangeInclusive<u64> = 0..=64 << 20;
/// The allowed values of `results.max_size`, in bytes. Object stores take no object of more than 5 TiB.
const MAX_SIZE: RangeInclusive<u64> = 1..=5 << 40;

const WANTED: &str = "the URL of a folder or a bucket";

/// Reads the section. Without a URL, results are kept beside the store: in a folder beside the database, or in memory.
/// A store in PostgreSQL has no such place, because its nodes share no folder.
pub(super) fn options(mut section: Section<'_>, store: &Location, max_inline: usize) -> results::Options {
    let place = |node: Node| {
        read::optional(node, |node| read::checked(node, WANTED, |text| Place::parse(text).map_err(expected)))
    };
    let server_url = section.take("server_url", None, |node| read::optional(node, read::url));
    let max_size = section.take("max_size", 1 << 30, |node| read::size(node, &MAX_SIZE)) as u64;
    let (place, set_by) = section.take_with_place("url", None, place);
    let place = match (place, beside(store)) {
        (None, None) => None,
        (Some(place), _) | (None, Some(Ok(place))) => Some(place),
        (None, Some(Err(mismatch))) => {
            section.refuse("url", &set_by, mismatch);
            None
        }
    };
    section.finish();
    results::Options { place, max_inline, max_size, server_url }
}

/// Returns the place of results beside this store.
fn beside(store: &Location) -> Option<Result<Place, Mismatch>> {
    match store {
        Location::Memory { .. } => Some(Ok(Place::memory())),
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, .. } => {
            let mut folder = path.clone().into_os_string();
            folder.push(".results");
            Some(Place::folder(&PathBuf::from(folder)).map_err(expected))
        }
        #[cfg(feature = "postgres")]
        Location::Postgres { .. } => None,
    }
}

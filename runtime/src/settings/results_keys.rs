//! The section `[results]`: where large results are kept.

use std::ops::RangeInclusive;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use super::mismatch::{Mismatch, expected};
use super::read;
use super::section::Section;
use super::tree::Node;
use crate::results::{self, Place};
use postback_store::Location;

/// The allowed values of `store.max_inline`, in bytes.
pub(super) const MAX_INLINE: RangeInclusive<u64> = 0..=64 << 20;
/// The allowed values of `results.max_size`, in bytes. Object stores take at most 10,000 parts of 8 MiB.
const MAX_SIZE: RangeInclusive<u64> = 1..=64 << 30;

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
    let mut options = results::Options { place, max_inline, max_size, server_url };
    if options.place.is_none() {
        match beside(store) {
            Beside::Nowhere => {}
            // The store has a bound for the JSON in memory.
            Beside::Memory => options = options.in_memory(),
            Beside::Place(Ok(place)) => options.place = Some(place),
            Beside::Place(Err(mismatch)) => section.refuse("url", &set_by, mismatch),
        }
    }
    section.finish();
    options
}

/// The place of results beside a store.
enum Beside {
    Memory,
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only SQLite has a folder"))]
    Place(Result<Place, Mismatch>),
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only PostgreSQL has no folder"))]
    Nowhere,
}

fn beside(store: &Location) -> Beside {
    match store {
        Location::Memory { .. } => Beside::Memory,
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, .. } => {
            let mut folder = path.clone().into_os_string();
            folder.push(".results");
            Beside::Place(Place::folder(&PathBuf::from(folder)).map(Place::beside_store).map_err(expected))
        }
        #[cfg(feature = "postgres")]
        Location::Postgres { .. } => Beside::Nowhere,
    }
}

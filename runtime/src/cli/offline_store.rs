//! What commands do that need the store of a server: it belongs to one process, so the server has to be stopped meanwhile.

use crate::id::NodeId;
use crate::line::Causes;
use crate::store::{self, Location, Store};
use crate::time::Clock;

/// What a command comes to: what it prints, or why it could not be done, unless the store fails.
pub(super) type Done = Result<Result<String, String>, store::Error>;

/// Opens the store, does this with it, and closes it.
pub(super) async fn with_store(
    options: store::Options,
    command: impl AsyncFnOnce(&Store) -> Done,
) -> Result<String, String> {
    if let Some(why) = nothing_at(&options.place) {
        return Err(why);
    }
    let store = Store::open(options, NodeId::generate(), Clock::system()).await;
    let store = store.map_err(|error| Causes(&error).to_string())?;
    let done = command(&store).await;
    store.close().await;
    done.map_err(|error| Causes(&error).to_string())?
}

/// Why there is no store to look into.
#[cfg_attr(not(feature = "sqlite"), expect(clippy::unnecessary_wraps, reason = "a file is a store to look into"))]
fn nothing_at(place: &Location) -> Option<String> {
    match place {
        Location::Memory { .. } => Some("the store is in memory, where nothing outlasts the server".to_owned()),
        // Else opening it would make one.
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, .. } if !path.exists() => {
            Some(format!("there is no database {}; set store.url as it is for the server", path.display()))
        }
        #[cfg(feature = "sqlite")]
        Location::Sqlite { .. } => None,
    }
}

#[cfg(all(test, feature = "sqlite"))]
pub(super) mod tests {
    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::store::{Attempt, Durability};

    pub(in crate::cli) fn options(path: &Path) -> store::Options {
        store::Options::at(Location::Sqlite { path: path.into(), durability: Durability::Normal })
    }

    /// The receiver wants nothing more.
    pub(in crate::cli) fn answered_gone(clock: &Clock) -> Attempt {
        Attempt {
            started: clock.now(),
            took: Duration::ZERO,
            status: Some(410),
            error: Some("answered 410 Gone".to_owned()),
            response: Bytes::new(),
        }
    }
}

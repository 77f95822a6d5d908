//! Opens the store of a stopped server for a command. A store belongs to one process, so the server must be stopped
//! meanwhile.

use crate::admin::client::Client;
pub(super) use crate::admin::offline::BY;
use crate::handler::Routes;
use postback_store::{self as store, Location, Store};
use postback_wire::id::NodeId;
use postback_wire::line::Causes;
use postback_wire::time::Clock;

/// The result of a command that uses the store. The outer error is an error of the store. The inner result is the result
/// of the command, or the reason why the command has failed.
pub(super) type CommandResult<T = String> = Result<Result<T, String>, store::Error>;

/// Opens the store, runs a command on the store, and closes the store.
pub(super) async fn with_store<T>(
    options: store::Options,
    command: impl AsyncFnOnce(&Store) -> CommandResult<T>,
) -> Result<T, String> {
    match nothing_at(&options.place) {
        Some(why) => Err(why),
        None => with_new_store(options, command).await,
    }
}

/// Runs a command on the store of a stopped server, with a client that answers as the server would. `routes` are those
/// of the program, if the command needs them.
pub(super) async fn with_client(
    options: store::Options,
    routes: Routes,
    command: impl AsyncFnOnce(&Client) -> Result<String, String>,
) -> Result<String, String> {
    with_store(options, async |store| Ok(command(&Client::of_store(store.clone(), routes)).await)).await
}

/// Opens the store as [`with_store`] does, but makes a database if there is none.
pub(super) async fn with_new_store<T>(
    options: store::Options,
    command: impl AsyncFnOnce(&Store) -> CommandResult<T>,
) -> Result<T, String> {
    if matches!(options.place, Location::Memory { .. }) {
        return Err(IN_MEMORY.to_owned());
    }
    let store = Store::open(options, NodeId::generate(), Clock::system()).await;
    let store = store.map_err(|error| match &error {
        #[cfg(feature = "postgres")]
        store::OpenError::DatabaseInUse { .. } => {
            format!("{}; or ask the server that has it: --url, with an admin token", Causes(&error))
        }
        error => Causes(error).to_string(),
    })?;
    let done = command(&store).await;
    store.close().await;
    done.map_err(|error| Causes(&error).to_string())?
}

/// Whether a store of this kind is there after its server has stopped.
pub(super) fn is_kept(place: &Location) -> bool {
    !matches!(place, Location::Memory { .. })
}

const IN_MEMORY: &str = "the store is in memory, and is lost when the server stops";

/// Returns the reason why there is no store to open. Returns `None` if there is a store.
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(clippy::unnecessary_wraps, reason = "with a feature, there may be a store")
)]
fn nothing_at(place: &Location) -> Option<String> {
    match place {
        Location::Memory { .. } => Some(IN_MEMORY.to_owned()),
        // The database must exist already. Otherwise opening the store would make a new database.
        #[cfg(feature = "sqlite")]
        Location::Sqlite { path, .. } if !path.exists() => {
            Some(format!("there is no database {}; set store.url to the value that the server has", path.display()))
        }
        #[cfg(feature = "sqlite")]
        Location::Sqlite { .. } => None,
        #[cfg(feature = "postgres")]
        Location::Postgres { .. } => None,
    }
}

#[cfg(all(test, feature = "sqlite"))]
pub(super) mod tests {
    use std::path::Path;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use postback_store::{Attempt, Durability};

    pub(in crate::cli) fn options(path: &Path) -> store::Options {
        store::Options::at(Location::Sqlite { path: path.into(), durability: Durability::Normal })
    }

    /// The arguments of a command that are about the server, without any.
    pub(in crate::cli) fn remote() -> crate::cli::remote::Remote {
        crate::cli::remote::Remote { common: crate::cli::Common { config: None }, url: None, token_file: None }
    }

    /// Makes the record of an attempt to which the receiver answered 410, which means that the receiver wants no more
    /// reports.
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

//! The command `store`: copies a store to another place.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Common;
use super::remote::json;
use crate::settings::store_place;
use postback_store::Location;

/// The command `store` and its subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy the store of a stopped program from SQLite into PostgreSQL, and compare all rows; an interrupted copy goes on
    Copy(CopyStore),
}

/// The arguments of `store copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyStore {
    /// The store to copy, such as sqlite:postback.db
    from: String,
    /// Where to: an empty schema, such as postgres://USER@HOST/DATABASE?search_path=postback. Without it: store.url of the
    /// settings, whose password can be in a file or in the environment
    to: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

/// What was copied, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Done {
    requests: u64,
    deliveries: u64,
    /// The number of rows that this command has copied. An earlier one may have copied others.
    rows: u64,
    /// The number of rows that are the same in both stores: all of them.
    compared: u64,
}

impl StoreCommand {
    pub(super) fn common(&self) -> &Common {
        let Self::Copy(copy) = self;
        &copy.common
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, configured: &Location) -> Result<String, String> {
        let Self::Copy(copy) = self;
        let to = match &copy.to {
            Some(url) => store_place(url)?,
            None => configured.clone(),
        };
        let done = copied(&store_place(&copy.from)?, &to, copy.json).await?;
        if copy.json {
            return json(&done);
        }
        let Done { requests, deliveries, compared, .. } = done;
        Ok(format!(
            "{requests} requests and {deliveries} deliveries are in the copy; all {compared} rows were compared\n"
        ))
    }
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
async fn copied(from: &Location, to: &Location, as_json: bool) -> Result<Done, String> {
    use super::progress::Progress;
    use postback_store::copy::{Copied, Step, copy};
    use postback_wire::line::Causes;

    let (Location::Sqlite { path, .. }, Location::Postgres { url }) = (from, to) else {
        return Err("`store copy` copies from SQLite (sqlite:FILE) into PostgreSQL (postgres://…)".to_owned());
    };
    let (mut progress, mut steps) = (Progress::begin(None, as_json), 0);
    let step = |step| {
        let (table, rows, what) = match step {
            Step::Copied { table, rows } => (table, rows, "copied"),
            Step::Compared { table, rows } => (table, rows, "compared"),
        };
        steps += 1;
        progress.at(steps, &format!("{table}: {rows} rows {what}"));
    };
    let Copied { rows, compared, requests, deliveries } =
        copy(path, url, step).await.map_err(|error| Causes(&error).to_string())?;
    Ok(Done { requests, deliveries, rows, compared })
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
#[expect(clippy::unused_async, reason = "with the features it waits")]
async fn copied(_: &Location, _: &Location, _: bool) -> Result<Done, String> {
    Err("`store copy` needs the features `sqlite` and `postgres` of postback, and this program was built without one of them"
        .to_owned())
}

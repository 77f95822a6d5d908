//! The command `cron`: lists the schedules of a running server.

use std::path::Path;

use clap::{Args, Subcommand};

use super::remote::{Remote, json, listed, said};
use super::table::Table;
use crate::admin::model::Schedule;
use postback_store as store;
use postback_wire::line::Escaped;

/// The command `cron` and its subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Cron {
    /// List the schedules, with their last and their next time
    List(List),
}

/// The arguments of `cron list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Cron {
    pub(super) fn common(&self) -> &super::Common {
        let Self::List(list) = self;
        &list.remote.common
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, options: &store::Options, ca_file: Option<&Path>) -> Result<String, String> {
        let Self::List(list) = self;
        let client = list.remote.client(&options.place, ca_file)?;
        let schedules = listed(&client, "/schedules", &[], usize::MAX).await.map_err(|error| said(&error))?;
        if list.json { json(&schedules) } else { Ok(shown(&schedules)) }
    }
}

fn shown(schedules: &[Schedule]) -> String {
    if schedules.is_empty() {
        return "the program has no schedules\n".to_owned();
    }
    let mut table = Table::default();
    for Schedule { route, cron, time_zone, missed, last, next } in schedules {
        let last = last.as_deref().map_or_else(|| "never due".to_owned(), |last| format!("last {last}"));
        let next = next.first().map_or_else(|| "no next time".to_owned(), |next| format!("next {next}"));
        let missed = format!("missed: {missed}");
        let cells = [route.as_str(), cron, time_zone, &next, &last, &missed];
        table.row(cells.into_iter().map(|cell| Escaped(cell).to_string()).collect());
    }
    table.text()
}

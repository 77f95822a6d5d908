//! The command `nodes`: lists the processes that use the store.

use std::path::Path;

use clap::Args;

use super::remote::{Remote, json, listed, said};
use super::table::Table;
use crate::admin::model::Node;
use postback_store as store;
use postback_wire::line::Escaped;

/// The arguments of `nodes`.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Nodes {
    pub(super) fn common(&self) -> &super::Common {
        &self.remote.common
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, options: &store::Options, ca_file: Option<&Path>) -> Result<String, String> {
        let client = self.remote.client(&options.place, ca_file)?;
        let nodes: Vec<Node> = listed(&client, "/nodes", &[], usize::MAX).await.map_err(|error| said(&error))?;
        if self.json { json(&nodes) } else { Ok(shown(&nodes)) }
    }
}

fn shown(nodes: &[Node]) -> String {
    let mut table = Table::with_status(1);
    for node in nodes {
        let Node { id, name, version, started, state, running, delivering, .. } = node;
        let silent = node.silent_seconds.filter(|_| state == "silent");
        let state = silent.map_or_else(|| state.clone(), |time| format!("{state} for {time:.0} s"));
        let delivering = delivering.map(|reports| format!("{reports} delivering")).unwrap_or_default();
        let this = if node.is_this { "(answers)" } else { "" };
        let cells = [id, &state, name, version, started, &format!("{running} running"), &delivering, this];
        table.row(cells.into_iter().map(|cell| Escaped(cell).to_string()).collect());
    }
    table.text()
}

//! The command `nodes`: lists the processes that use the store.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;

use super::remote::{Remote, json, listed, said};
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
        if self.json { json(&nodes) } else { Ok(table(&nodes)) }
    }
}

fn table(nodes: &[Node]) -> String {
    let mut text = String::new();
    for node in nodes {
        let Node { id, name, version, started, state, running, delivering, .. } = node;
        let this = if node.is_this { "  (answers)" } else { "" };
        let silent = node.silent_seconds.filter(|_| state == "silent").map(|time| format!(" for {time:.0} s"));
        let silent = silent.unwrap_or_default();
        let delivering = delivering.map(|reports| format!("  {reports} delivering")).unwrap_or_default();
        let line = format!(
            "{id}  {state}{silent}  {name}  version {version}  since {started}  {running} running{delivering}{this}"
        );
        // The result is ignored, because writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", Escaped(&line));
    }
    text
}

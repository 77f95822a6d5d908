//! How a command reaches a running server: through the socket beside the database, or at a URL with the admin token.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::progress::Progress;
use super::{Common, print};
use crate::admin::client::{Client, ClientError};
use crate::admin::model::Page;
use crate::settings;
use postback_store::Location;
use postback_wire::line::Escaped;

/// The largest page that a command asks for.
const PAGE: usize = 200;

/// Where a command finds the server.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Ask the server at this URL, instead of the one on this machine that has the database open
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Read the admin token for --url from this file, instead of the variable POSTBACK_ADMIN_TOKEN
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) token_file: Option<PathBuf>,
}

/// What a list shows.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print at most this number of lines
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Remote {
    /// Makes a client of the server. Returns `None` if `--url` is not given and no server has the store open.
    pub(super) fn find(&self, place: &Location, ca_file: Option<&Path>) -> Result<Option<Client>, String> {
        match &self.url {
            Some(url) => Client::at(url, &self.token()?, ca_file).map(Some),
            None => beside(place),
        }
    }

    /// Makes a client of the server, or says how to reach one.
    pub(super) fn client(&self, place: &Location, ca_file: Option<&Path>) -> Result<Client, String> {
        self.find(place, ca_file)?.ok_or_else(|| match place {
            Location::Memory { .. } => {
                "the store is in memory, so there is no socket beside it; use --url with an admin token".to_owned()
            }
            #[cfg(feature = "sqlite")]
            Location::Sqlite { path, .. } => format!(
                "no server has the database {} open; start it, set store.url to the value that the server has, or use --url",
                path.display()
            ),
            #[cfg(feature = "postgres")]
            Location::Postgres { .. } => {
                "a store in PostgreSQL has no socket beside it; use --url with an admin token".to_owned()
            }
        })
    }

    fn token(&self) -> Result<String, String> {
        match &self.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                text.map_err(|error| format!("the file {} cannot be read: {error}", file.display()))
            }
            None => settings::admin_token().ok_or_else(|| {
                "--url needs the admin token: use --token-file, or set the variable POSTBACK_ADMIN_TOKEN".to_owned()
            }),
        }
    }
}

#[cfg(all(unix, feature = "sqlite"))]
fn beside(place: &Location) -> Result<Option<Client>, String> {
    match place {
        Location::Sqlite { path, .. } => Client::beside(path),
        Location::Memory { .. } => Ok(None),
        #[cfg(feature = "postgres")]
        Location::Postgres { .. } => Ok(None),
    }
}

#[cfg(not(all(unix, feature = "sqlite")))]
#[expect(clippy::unnecessary_wraps, reason = "with a socket beside the database, it may fail")]
fn beside(_: &Location) -> Result<Option<Client>, String> {
    Ok(None)
}

/// Writes the error of a call on one line, because a part of the text may come from outside.
pub(super) fn said(error: &ClientError) -> String {
    Escaped(&error.to_string()).to_string()
}

/// Reads a list page by page, until it has `limit` items or ends. `filters` are query parameters; those without a value
/// are left out.
pub(super) async fn listed<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    filters: &[(&str, Option<&str>)],
    limit: usize,
) -> Result<Vec<T>, ClientError> {
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    while items.len() < limit {
        let mut query = Serializer::new(String::new());
        for (name, value) in filters {
            value.map(|value| query.append_pair(name, value));
        }
        cursor.as_ref().map(|cursor| query.append_pair("cursor", cursor));
        query.append_pair("limit", &(limit - items.len()).min(PAGE).to_string());
        let page: Page<T> = client.get(&format!("{path}?{}", query.finish())).await?;
        items.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    items.truncate(limit);
    Ok(items)
}

/// What a change has done, for people and for `--json`.
pub(super) struct Done {
    pub(super) text: String,
    pub(super) value: Value,
}

impl Done {
    pub(super) fn new(text: String, value: &impl Serialize) -> Self {
        Self { text, value: serde_json::to_value(value).unwrap_or_default() }
    }
}

/// Runs a change for each id. All ids are tried, and the command fails if one of them fails.
pub(super) async fn each(
    ids: &[String],
    as_json: bool,
    change: impl AsyncFn(&str) -> Result<Done, String>,
) -> Result<String, String> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let mut progress = Progress::begin(Some(ids.len() as u64), as_json);
    for (at, id) in (0..).zip(ids) {
        progress.at(at, &format!("{at} of {}", ids.len()));
        match change(id).await {
            Ok(one) => done.push(one),
            Err(why) => failed.push(why),
        }
    }
    drop(progress);
    finished(&done, &failed, as_json)
}

/// Returns what was done. If something has failed, prints what was done, and returns what has failed.
pub(super) fn finished(done: &[Done], failed: &[String], as_json: bool) -> Result<String, String> {
    let text = if as_json {
        json(&done.iter().map(|one| &one.value).collect::<Vec<_>>())?
    } else {
        done.iter().map(|one| one.text.as_str()).collect()
    };
    if failed.is_empty() {
        return Ok(text);
    }
    print(&text);
    Err(failed.join("\n"))
}

/// Writes a value as JSON for a terminal. Characters that a terminal could obey are written as escapes, which JSON
/// readers turn back.
pub(super) fn json(value: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // JSON has such characters only within strings.
        if (c.is_control() && c != '\n') || is_invisible(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // The result is ignored, because writing to a `String` cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped.push('\n');
    Ok(escaped)
}

/// Whether a character changes the direction of the text around it, or cannot be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_command_a_terminal_and_means_the_same() {
        let value = vec!["a\u{9b}31m\u{7f}\u{202e}b\n", "ü✓"];
        let text = json(&value).unwrap();
        assert!(text.contains("a\\u009b31m\\u007f\\u202eb\\n") && text.contains("ü✓"), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), value);
    }
}

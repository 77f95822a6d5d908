//! The command `endpoints`: lists the webhooks whose receivers want no more reports, and enables them again.

use std::path::Path;

use clap::Subcommand;

use super::offline_store::with_client;
use super::remote::{Done, Remote, finished, json, listed, said};
use super::table::Table;
use crate::admin::client::Client;
use crate::admin::model::{AllEnabled, DisabledName, Enabled, Endpoint, Name};
use crate::handler::Routes;
use postback_store as store;
use postback_wire::line::Escaped;

/// The subcommands of `endpoints`.
#[derive(Debug, Subcommand)]
pub(crate) enum Endpoints {
    /// List the disabled webhooks: their receivers answered 410, or `webhook-delivery: disable`, or an operator disabled
    /// them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Enable a disabled webhook, so that the reports held for it are sent
    Enable {
        /// The URL, in full or as `list` shows it; `list` leaves out parts that may be secret
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Disable a webhook, so that its reports are held until it is enabled
    Disable {
        /// The URL in full, or the scheme, host and port of an origin
        #[arg(value_name = "ENDPOINT")]
        endpoint: String,
        /// Why it is disabled
        #[arg(long)]
        reason: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Endpoints {
    fn remote(&self) -> &Remote {
        match self {
            Self::List { remote, .. } | Self::Enable { remote, .. } | Self::Disable { remote, .. } => remote,
        }
    }

    pub(super) fn common(&self) -> &super::Common {
        &self.remote().common
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, options: store::Options, ca_file: Option<&Path>) -> Result<String, String> {
        if let Some(client) = self.remote().find(&options.place, ca_file)? {
            return self.ask(&client).await;
        }
        with_client(options, Routes::default(), async |client| self.ask(client).await).await
    }

    async fn ask(&self, client: &Client) -> Result<String, String> {
        match self {
            Self::List { json, .. } => {
                let list = listed(client, "/endpoints", &[], usize::MAX).await.map_err(|error| said(&error))?;
                shown_list(&list, *json)
            }
            Self::Enable { endpoint, json, .. } => {
                let (path, name) = named(endpoint, None, "enable");
                let answer: Result<AllEnabled, _> = client.post(path, &name).await;
                match answer {
                    Ok(all) => finished(&all.enabled.iter().map(enabled).collect::<Vec<_>>(), &[], *json),
                    Err(error) if error.is_not_found() => Err(not_disabled(endpoint)),
                    Err(error) => Err(said(&error)),
                }
            }
            Self::Disable { endpoint, reason, json: as_json, .. } => {
                let (path, name) = named(endpoint, reason.clone(), "disable");
                let answer: Result<DisabledName, _> = client.post(path, &name).await;
                let disabled = answer.map_err(|error| said(&error))?;
                if *as_json {
                    return json(&disabled);
                }
                Ok(format!("{} is disabled; its reports are held until it is enabled\n", Escaped(&disabled.url)))
            }
        }
    }
}

/// Returns the path for this change, and its body. A name without a path is an origin.
fn named(name: &str, reason: Option<String>, change: &str) -> (&'static str, Name) {
    let path = match (is_origin(name), change) {
        (true, "enable") => "/origins/enable",
        (true, _) => "/origins/disable",
        (false, "enable") => "/endpoints/enable",
        (false, _) => "/endpoints/disable",
    };
    (path, Name { url: name.to_owned(), reason })
}

/// Whether a name is an origin: it has neither a path nor a query.
fn is_origin(name: &str) -> bool {
    name.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?']))
}

fn enabled(enabled: &Enabled) -> Done {
    let Enabled { url, reports } = enabled;
    let s = if *reports == 1 { "" } else { "s" };
    let text = format!("{} is enabled; {reports} report{s} held for it will be sent\n", Escaped(url));
    Done::new(text, enabled)
}

fn not_disabled(asked: &str) -> String {
    format!("{} is not disabled; `endpoints list` shows the disabled webhooks", Escaped(asked))
}

fn shown_list(list: &[Endpoint], as_json: bool) -> Result<String, String> {
    if as_json {
        return json(&list);
    }
    if list.is_empty() {
        return Ok("no webhook is disabled\n".to_owned());
    }
    let mut table = Table::default();
    for Endpoint { url, since, reason, held, .. } in list {
        let held = if *held > 0 { format!("{held} held") } else { String::new() };
        let cells = [url, &format!("since {since}"), reason, &held];
        table.row(cells.iter().map(|cell| Escaped(cell).to_string()).collect());
    }
    Ok(table.text())
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::cli::offline_store::tests::{answered_gone, options, remote};
    use postback_store::{NewReport, Next, Settled, Store};
    use postback_wire::id::NodeId;
    use postback_wire::time::Clock;
    use postback_wire::webhook::Webhook;

    async fn run(path: &Path, url: Option<&str>, json: bool) -> Result<String, String> {
        let remote = remote();
        let command = match url {
            Some(url) => Endpoints::Enable { endpoint: url.to_owned(), json: false, remote },
            None => Endpoints::List { json, remote },
        };
        command.run(options(path), None).await
    }

    #[tokio::test]
    async fn what_receivers_disabled_is_listed_without_its_secrets_and_enabled_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(run(&path, None, false).await.unwrap_err().contains("there is no database"));

        let clock = Clock::system();
        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        let printed = run(&path, None, false).await.unwrap_err();
        assert!(printed.contains("in use") && printed.contains("stop"), "{printed}");
        let attempt = answered_gone(&clock);
        for url in ["https://a.example/in?token=s3cret", "https://b.example/in"] {
            let report = |subject| NewReport::to(Webhook::new(url).unwrap(), subject, Bytes::from("{}"), clock.now());
            store.post_durably(vec![report("1"), report("2")]).await.unwrap();
            let rows = store.claim_reports(2).await.unwrap().rows;
            let gone = Next::Gone { disable: true };
            assert_eq!(
                store.settle_report(rows[0].claim.clone(), attempt.clone(), gone).await.unwrap(),
                Settled::Current
            );
            assert_eq!(store.hold_report(rows[1].claim.clone()).await.unwrap(), Settled::Current);
        }
        store.close().await;
        drop(store);

        let listed = run(&path, None, false).await.unwrap();
        assert_eq!(listed.lines().count(), 2);
        assert!(
            listed.contains("https://a.example/in?…  since 20") && listed.contains("answered 410 Gone"),
            "{listed}"
        );
        let json: serde_json::Value = serde_json::from_str(&run(&path, None, true).await.unwrap()).unwrap();
        assert_eq!(json[1]["url"], "https://b.example/in");
        assert!(!listed.contains("s3cret") && !json.to_string().contains("s3cret"));

        assert!(run(&path, Some("https://c.example/in"), false).await.unwrap_err().contains("is not disabled"));
        let enabled = run(&path, Some("https://a.example/in?…"), false).await.unwrap();
        assert_eq!(enabled, "https://a.example/in?… is enabled; 1 report held for it will be sent\n");
        run(&path, Some("https://b.example/in"), false).await.unwrap();
        assert_eq!(run(&path, None, false).await.unwrap(), "no webhook is disabled\n");

        let store = Store::open(options(&path), NodeId::generate(), clock).await.unwrap();
        let [last, first] = &store.audited(None, 10).await.unwrap()[..] else { panic!("two changes") };
        assert_eq!((&*first.entry.who, &*first.entry.what), ("command line", "endpoint.enable"));
        assert_eq!((&*first.entry.subject, &*last.entry.subject), ("https://a.example/in?…", "https://b.example/in"));
        store.close().await;
    }
}

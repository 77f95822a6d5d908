//! The command `endpoints`: lists the webhooks whose receivers want no more reports, and enables them again.

use std::fmt::Write as _;

use clap::Subcommand;
use serde::Serialize;

use super::offline_store::{CommandResult, with_store};
#[cfg(all(unix, feature = "sqlite"))]
use crate::admin::Client;
use postback_store::{self as store, Disabled, Store};
use postback_wire::line::Escaped;
use postback_wire::webhook::{Webhook, shown};

/// The subcommands of `endpoints`.
#[derive(Debug, Subcommand)]
pub(crate) enum Endpoints {
    /// List the disabled webhooks: their receivers answered 410, or `webhook-delivery: disable`
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: super::Common,
    },
    /// Enable a disabled webhook, so that the reports held for it are sent
    Enable {
        /// The URL, in full or as `list` shows it; `list` leaves out parts that may be secret
        url: String,
        #[command(flatten)]
        common: super::Common,
    },
}

impl Endpoints {
    pub(super) fn common(&self) -> &super::Common {
        match self {
            Self::List { common, .. } | Self::Enable { common, .. } => common,
        }
    }

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, options: store::Options) -> Result<String, String> {
        if let Some(server) = running(&options) {
            return match self {
                Self::List { json, .. } => listed(&server.disabled()?, *json),
                Self::Enable { url, .. } => {
                    let urls = matching(server.disabled()?, url)?;
                    let enabled = urls.into_iter().map(|url| Ok(enabled(&url, server.enable(&url)?)));
                    enabled.collect()
                }
            };
        }
        with_store(options, async |store| match self {
            Self::List { json, .. } => Ok(listed(&store.disabled().await?, *json)),
            Self::Enable { url, .. } => enable(store, url).await,
        })
        .await
    }
}

/// Makes a client of the running server that has the store open. Returns `None` if no server runs.
#[cfg(all(unix, feature = "sqlite"))]
fn running(options: &store::Options) -> Option<Client> {
    match &options.place {
        store::Location::Sqlite { path, .. } => Client::of(path),
        store::Location::Memory { .. } => None,
    }
}

#[cfg(not(all(unix, feature = "sqlite")))]
fn running(_: &store::Options) -> Option<NoServer> {
    None
}

/// Replaces the client of a running server on systems that have no admin socket. The type has no values, because a
/// command cannot connect to a running server on these systems.
#[cfg(not(all(unix, feature = "sqlite")))]
enum NoServer {}

#[cfg(not(all(unix, feature = "sqlite")))]
impl NoServer {
    fn disabled(&self) -> Result<Vec<Disabled>, String> {
        match *self {}
    }

    fn enable(&self, _: &str) -> Result<u64, String> {
        match *self {}
    }
}

fn listed(disabled: &[Disabled], json: bool) -> Result<String, String> {
    if json { as_json(disabled) } else { Ok(as_lines(disabled)) }
}

async fn enable(store: &Store, asked: &str) -> CommandResult {
    let urls = match matching(store.disabled().await?, asked) {
        Ok(urls) => urls,
        Err(why) => return Ok(Err(why)),
    };
    let mut text = String::new();
    for url in urls {
        text.push_str(&enabled(&url, store.enable(&url).await?));
    }
    Ok(Ok(text))
}

fn enabled(url: &str, reports: u64) -> String {
    let s = if reports == 1 { "" } else { "s" };
    format!("{} is enabled; {reports} report{s} held for it will be sent\n", shown(url))
}

/// Returns the disabled URLs that match the argument `asked`. `asked` is either a full URL or the short form of a URL
/// that the command `list` shows. Several URLs may have the same short form.
fn matching(disabled: Vec<Disabled>, asked: &str) -> Result<Vec<String>, String> {
    let exact = Webhook::new(asked).ok();
    let matches = |disabled: &Disabled| {
        exact.as_ref().is_some_and(|webhook| webhook.url().as_str() == disabled.url) || shown(&disabled.url) == asked
    };
    let urls: Vec<_> = disabled.into_iter().filter(matches).map(|disabled| disabled.url).collect();
    if urls.is_empty() {
        return Err(format!("{} is not disabled; `endpoints list` shows the disabled webhooks", Escaped(asked)));
    }
    Ok(urls)
}

fn as_lines(disabled: &[Disabled]) -> String {
    if disabled.is_empty() {
        return "no webhook is disabled\n".to_owned();
    }
    let mut text = String::new();
    for Disabled { url, since, reason } in disabled {
        // The result of `writeln!` is ignored, because writing to a `String` cannot fail.
        let _ = writeln!(text, "{}  since {since}  {}", shown(url), Escaped(reason));
    }
    text
}

fn as_json(disabled: &[Disabled]) -> Result<String, String> {
    #[derive(Serialize)]
    struct Line {
        url: String,
        since: String,
        reason: String,
    }
    let line = |disabled: &Disabled| Line {
        url: shown(&disabled.url),
        since: disabled.since.to_string(),
        reason: disabled.reason.clone(),
    };
    let lines: Vec<_> = disabled.iter().map(line).collect();
    serde_json::to_string_pretty(&lines).map(|text| text + "\n").map_err(|error| error.to_string())
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::cli::offline_store::tests::{answered_gone, options};
    use postback_store::{NewReport, Next, Settled};
    use postback_wire::id::NodeId;
    use postback_wire::time::Clock;

    async fn run(path: &Path, url: Option<&str>, json: bool) -> Result<String, String> {
        let common = super::super::Common { config: None };
        let command = match url {
            Some(url) => Endpoints::Enable { url: url.to_owned(), common },
            None => Endpoints::List { json, common },
        };
        command.run(options(path)).await
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
    }
}

//! `deliveries`: sending again what was sent, or given up, before.

use clap::Subcommand;

use super::stopped::{Done, with_store};
use crate::id::ReportId;
use crate::line::Escaped;
use crate::store::{self, Replayed, Store};
use crate::webhook::shown;

/// What to do with them.
#[derive(Debug, Subcommand)]
pub(crate) enum Deliveries {
    /// Send a webhook again that is over (delivered, dead, refused or gone), with the same id and the same bytes
    Replay {
        /// Its id: the `webhook-id` that its receiver saw, which `?include=delivery` shows too
        id: String,
        #[command(flatten)]
        common: super::Common,
    },
}

impl Deliveries {
    pub(super) fn common(&self) -> &super::Common {
        match self {
            Self::Replay { common, .. } => common,
        }
    }

    /// What the command prints; else why it could not be done.
    pub(crate) async fn run(&self, options: store::Options) -> Result<String, String> {
        let Self::Replay { id, .. } = self;
        let shown = Escaped(id);
        let id: ReportId = id.parse().map_err(|_| format!("`{shown}` is not the id of a delivery, which is a UUID"))?;
        with_store(options, async |store| replay(store, id).await).await
    }
}

async fn replay(store: &Store, id: ReportId) -> Done {
    Ok(match store.replay(id).await? {
        Replayed::As { delivery, url } => {
            let disabled = store.is_disabled(&url);
            let url = shown(&url);
            let when = if disabled { "once it is enabled again (`endpoints enable`)" } else { "at the next start" };
            Ok(format!("{id} will be sent to {url} again {when}, as delivery {delivery}\n"))
        }
        Replayed::NotOver => Err(format!("{id} is not over: the next start goes on with it")),
        Replayed::NoBody => Err(format!("the bytes of {id} are no more, so it cannot be sent again")),
        Replayed::Unknown => {
            Err(format!("there is no delivery {id}; what came to its end longer ago than store.retention is deleted"))
        }
    })
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::cli::stopped::tests::{answered_gone, options};
    use crate::id::NodeId;
    use crate::store::{NewReport, Next, Settled};
    use crate::time::Clock;
    use crate::webhook::Webhook;

    async fn run(path: &Path, id: &str) -> Result<String, String> {
        Deliveries::Replay { id: id.to_owned(), common: super::super::Common { config: None } }.run(options(path)).await
    }

    #[tokio::test]
    async fn what_is_over_is_sent_again_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let unknown = ReportId::generate().to_string();
        assert!(run(&path, "7").await.unwrap_err().contains("`7` is not the id of a delivery"));
        assert!(run(&path, &unknown).await.unwrap_err().contains("there is no database"));

        let clock = Clock::system();
        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        let webhook = Webhook::new("https://a.example/in?token=s3cret").unwrap();
        let report = NewReport::to(webhook, "job-7", Bytes::from("{}"), clock.now());
        let id = report.id.to_string();
        store.post_durably(vec![report]).await.unwrap();
        store.close().await;
        drop(store);
        assert!(run(&path, &unknown).await.unwrap_err().contains("there is no delivery"));
        assert!(run(&path, &id).await.unwrap_err().contains("is not over"));

        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        assert!(run(&path, &id).await.unwrap_err().contains("in use"));
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        let gone = Next::Gone { disable: true };
        assert_eq!(store.settle_report(row.claim, answered_gone(&clock), gone).await.unwrap(), Settled::Current);
        store.close().await;
        drop(store);
        let told = run(&path, &id).await.unwrap();
        assert!(told.starts_with(&format!("{id} will be sent to https://a.example/in?… again once it is enabled")));

        let store = Store::open(options(&path), NodeId::generate(), clock).await.unwrap();
        store.enable("https://a.example/in?token=s3cret").await.unwrap();
        store.close().await;
        drop(store);
        let told = run(&path, &id).await.unwrap();
        let copy = told.trim_end().rsplit(' ').next().unwrap();
        assert_eq!(
            told,
            format!("{id} will be sent to https://a.example/in?… again at the next start, as delivery {copy}\n")
        );
        assert_ne!(copy, id);
    }
}

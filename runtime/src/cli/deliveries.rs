//! The command `deliveries`: sends a report again after its delivery is over.

use std::fmt::Write as _;

use clap::Subcommand;

use super::offline_store::{CommandResult, with_store};
use postback_store::{self as store, DeliveryRecord, DeliveryState, Replayed, Store};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::line::Escaped;
use postback_wire::webhook::shown;

/// The largest number of deliveries of one request that are listed.
const MAX_LISTED: usize = 20;

/// The subcommands of `deliveries`.
#[derive(Debug, Subcommand)]
pub(crate) enum Deliveries {
    /// Send a webhook again whose delivery is over (delivered, dead, refused or gone), with the same id and the same
    /// bytes
    Replay {
        /// The `webhook-id` of the delivery; its receiver got it, and `?include=delivery` shows it
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

    /// Runs the command. Returns the text to print, or the reason why the command has failed.
    pub(crate) async fn run(&self, options: store::Options) -> Result<String, String> {
        let Self::Replay { id, .. } = self;
        with_store(options, async |store| replay(store, id).await).await
    }
}

async fn replay(store: &Store, id: &str) -> CommandResult {
    let Ok(delivery) = id.parse::<ReportId>() else { return Ok(Err(of_request(store, id).await?)) };
    Ok(match store.replay(delivery).await? {
        Replayed::As { delivery, url } => {
            let disabled = store.is_disabled(&url);
            let url = shown(&url);
            let when = if disabled { "once it is enabled again (`endpoints enable`)" } else { "at the next start" };
            Ok(format!("{id} will be sent to {url} again {when}, as delivery {delivery}\n"))
        }
        Replayed::NotOver => Err(format!("delivery {id} is not over: the next start continues it")),
        Replayed::Waiting { delivery } => Err(format!(
            "{id} will already be sent again, as delivery {delivery}, which is not over: nothing was added"
        )),
        Replayed::NoBody => Err(format!("the body of {id} is no longer stored, so it cannot be sent again")),
        Replayed::Unknown => Err(of_request(store, id).await?),
    })
}

/// Makes the error message for an id that is not the id of a delivery. If `id` is the id of a request, the message
/// lists the deliveries of the request.
async fn of_request(store: &Store, id: &str) -> Result<String, store::Error> {
    let shown = Escaped(id);
    let is_request = match id.parse::<RequestId>() {
        Ok(request) => store.request(&request).await?.is_some(),
        Err(_) => false,
    };
    let deliveries = store.deliveries(id).await?;
    let what = if is_request { "the id of a request" } else { "what reports are about, and not the id of a delivery" };
    if deliveries.is_empty() && is_request {
        return Ok(format!(
            "`{shown}` is the id of a request that has no deliveries: it has no webhook, or is not over"
        ));
    }
    if deliveries.is_empty() {
        return Ok(match id.parse::<ReportId>() {
            Ok(_) => {
                format!("there is no delivery {shown}; deliveries that are over are deleted after store.retention")
            }
            Err(_) => {
                format!("`{shown}` is not the id of a delivery, which is a UUID, and there is no request with this id")
            }
        });
    }
    let mut text = format!("`{shown}` is {what}; its deliveries are:");
    for DeliveryRecord { id, webhook_id, url, state, .. } in deliveries.iter().take(MAX_LISTED) {
        let again = if webhook_id == id { String::new() } else { format!(", a replay of {webhook_id}") };
        // The result of `write!` is ignored, because writing to a `String` cannot fail.
        let _ = write!(text, "\n  {id}  {} to {}{again}", word(*state), postback_wire::webhook::shown(url));
    }
    if let Some(more) = deliveries.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        let _ = write!(text, "\n  and {more} more");
    }
    Ok(text)
}

fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "waiting",
        DeliveryState::Delivering => "being sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
        DeliveryState::Refused => "refused",
        DeliveryState::Gone => "gone",
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::cli::offline_store::tests::{answered_gone, options};
    use postback_store::{NewReport, NewRequest, Next, Settled};
    use postback_wire::id::NodeId;
    use postback_wire::time::Clock;
    use postback_wire::webhook::Webhook;

    async fn run(path: &Path, id: &str) -> Result<String, String> {
        Deliveries::Replay { id: id.to_owned(), common: super::super::Common { config: None } }.run(options(path)).await
    }

    #[tokio::test]
    async fn what_is_over_is_sent_again_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let unknown = ReportId::generate().to_string();
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
        assert!(run(&path, "7").await.unwrap_err().contains("`7` is not the id of a delivery"));

        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        assert!(run(&path, &id).await.unwrap_err().contains("in use"));
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        let gone = Next::Gone { disable: true };
        assert_eq!(store.settle_report(row.claim, answered_gone(&clock), gone).await.unwrap(), Settled::Current);
        store.close().await;
        drop(store);
        let printed = run(&path, &id).await.unwrap();
        let begin = format!("{id} will be sent to https://a.example/in?… again once it is enabled");
        assert!(printed.starts_with(&begin));

        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        store.enable("https://a.example/in?token=s3cret").await.unwrap();
        let row = store.claim_reports(1).await.unwrap().rows.remove(0);
        let dead = store.settle_report(row.claim, answered_gone(&clock), Next::Dead).await.unwrap();
        assert_eq!(dead, Settled::Current);
        store.close().await;
        drop(store);
        let printed = run(&path, &id).await.unwrap();
        let copy = printed.trim_end().rsplit(' ').next().unwrap();
        assert_eq!(
            printed,
            format!("{id} will be sent to https://a.example/in?… again at the next start, as delivery {copy}\n")
        );
        assert_ne!(copy, id);
        let printed = run(&path, &id).await.unwrap_err();
        assert_eq!(
            printed,
            format!("{id} will already be sent again, as delivery {copy}, which is not over: nothing was added")
        );
        let printed = run(&path, "job-7").await.unwrap_err();
        assert!(
            printed
                .starts_with("`job-7` is what reports are about, and not the id of a delivery; its deliveries are:\n")
        );
        for line in [
            format!("\n  {id}  gone to https://a.example/in?…\n"),
            format!("\n  {copy}  waiting to https://a.example/in?…, a replay of {id}"),
        ] {
            assert!(printed.contains(&line), "{printed}");
        }
        assert_eq!(printed.lines().count(), 4, "{printed}");
    }

    #[tokio::test]
    async fn the_id_of_a_request_is_told_from_that_of_a_delivery() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let clock = Clock::system();
        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        // Requests and deliveries both have UUIDs as ids. So the command could mistake this id of a request for the id
        // of a delivery.
        let id = RequestId::generate();
        let request = NewRequest::new(id.clone(), "/greet", "{}", clock.now());
        let _ = store.submit(request).await.unwrap();
        store.close().await;
        drop(store);
        let printed = run(&path, id.as_str()).await.unwrap_err();
        assert_eq!(
            printed,
            format!("`{id}` is the id of a request that has no deliveries: it has no webhook, or is not over")
        );

        let store = Store::open(options(&path), NodeId::generate(), clock.clone()).await.unwrap();
        let report =
            NewReport::to(Webhook::new("https://a.example/in").unwrap(), id.as_str(), "{}".into(), clock.now());
        let delivery = report.id;
        store.post_durably(vec![report]).await.unwrap();
        store.close().await;
        drop(store);
        let printed = run(&path, id.as_str()).await.unwrap_err();
        let expected = format!(
            "`{id}` is the id of a request; its deliveries are:\n  {delivery}  waiting to https://a.example/in"
        );
        assert_eq!(printed, expected);
    }
}

//! How to test an app: its handlers alone, and the whole app with retries, webhooks and failures, in milliseconds.
//!
//! Run the tests, and then the program itself:
//!
//! ```sh
//! cargo test --example tested
//! cargo run --example tested -- serve --inspect
//! ```

use std::collections::HashMap;
use std::sync::Mutex;

use postback::{
    App, Checkpoint, Config, HandlerError, IntoHandlerError as _, Payload, Progress, RequestId, State, async_handler,
};
use serde::Deserialize;

/// The settings of this program: the table `[config]` in postback.toml.
#[derive(Deserialize)]
struct Settings {
    webhook_url: String,
}

/// The stock of a shop. In production it is a database.
struct Stock(Mutex<HashMap<String, u32>>);

impl Stock {
    fn of(items: &[(&str, u32)]) -> Self {
        Self(Mutex::new(items.iter().map(|(item, count)| ((*item).to_owned(), *count)).collect()))
    }

    /// Takes one piece out of the stock, and returns how many are left.
    fn take(&self, item: &str) -> Result<u32, HandlerError> {
        let mut stock = self.0.lock().map_err(|_| "the stock is locked by a run that has panicked".permanent())?;
        match stock.get_mut(item) {
            None => Err(format!("there is no {item}").permanent()),
            // Somebody brings new ones every night.
            Some(0) => Err(format!("{item} is sold out").retry_after(std::time::Duration::from_hours(12))),
            Some(count) => {
                *count -= 1;
                Ok(*count)
            }
        }
    }
}

#[async_handler(webhook = config.webhook_url, error = display)]
async fn pack(
    config: Config<Settings>,
    stock: State<Stock>,
    order: Payload<Vec<String>>,
    packed: Checkpoint<usize>,
    progress: Progress,
    request_id: RequestId,
) -> Result<usize, HandlerError> {
    for (at, item) in order.iter().enumerate().skip(packed.last().copied().unwrap_or(0)) {
        stock.take(item)?;
        packed.save(&(at + 1)).await?;
        #[expect(clippy::cast_precision_loss, reason = "an order has few items")]
        progress.report((at + 1) as f64 / order.len() as f64, format!("packed {item}"));
    }
    Ok(order.len())
}

fn shop(settings: Settings, stock: Stock) -> App<Settings> {
    App::new(settings).state(stock).route("/pack", pack).max_attempts(3).example(r#"["tea"]"#)
}

#[postback::main]
async fn app(settings: Settings) -> App<Settings> {
    shop(settings, Stock::of(&[("tea", 3), ("cup", 0)]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postback::testing::{self, Answer, TestApp, TestError};
    use postback::{EndReason, Status};

    use super::*;

    const WEBHOOK: &str = "https://shop.example/hooks";

    fn settings() -> Settings {
        Settings { webhook_url: WEBHOOK.to_owned() }
    }

    /// The handler is a function: a test makes its parameters by hand, and looks at them afterwards.
    #[tokio::test]
    async fn an_order_goes_on_where_it_was() {
        let (recording, (progress, told)) = (testing::record(), testing::progress());
        let stock = State::new(Stock::of(&[("tea", 1)]));
        let order = Payload(vec!["cup".to_owned(), "tea".to_owned()]);
        // An earlier run has packed the cup, and the stock has no other one.
        let packed =
            pack(Config::new(settings()), stock, order, Checkpoint::new(1), progress, RequestId::generate()).await;
        assert_eq!(packed.ok(), Some(2));
        assert_eq!((told.fraction(), told.message().as_deref()), (Some(1.0), Some("packed tea")));
        assert_eq!(recording.reports()[0].status(), Status::Completed, "{recording:?}");
    }

    /// The clock is paused, so the night between the two runs takes no time.
    #[tokio::test(start_paused = true)]
    async fn what_is_sold_out_is_packed_after_the_night() -> Result<(), TestError> {
        let app = TestApp::new(shop(settings(), Stock::of(&[("tea", 1), ("cup", 0)]))).await?;
        let id = app.submit("/pack", &["tea", "cup"]).await?;
        let finished = app.finished(&id).await?;
        assert_eq!((finished.failure()?, finished.reason()), ("cup is sold out", Some(EndReason::Error)));
        assert_eq!(finished.runs(), 2, "runs before the last: {finished:?}");
        Ok(())
    }

    /// Reports come to the test's own receiver. It answers as the test says.
    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_down_gets_its_report_later() -> Result<(), TestError> {
        let app = TestApp::new(shop(settings(), Stock::of(&[("tea", 1)]))).await?;
        app.receiver().answer([Answer::hang(), Answer::reset(), 500.into()]);
        let id = app.submit("/pack", &["tea"]).await?;
        let hit = app.receiver().wait_for(|hit| hit.id() == id.as_str() && hit.attempt() == 4).await?;
        assert!(hit.is_signed() && hit.url().as_str() == WEBHOOK, "{hit:?}");
        assert_eq!((hit.status(), hit.result()), (Some(Status::Completed), Some(&1.into())));
        Ok(())
    }

    /// A request that does not fit is refused, and the error says why.
    #[tokio::test]
    async fn an_order_that_is_none_is_refused() -> Result<(), TestError> {
        let app = TestApp::new(shop(settings(), Stock::of(&[]))).await?;
        let refused = app.submit("/pack", &7).await.unwrap_err().to_string();
        assert!(refused.starts_with("the route /pack refuses the request: "), "{refused}");
        Ok(())
    }

    /// While the store fails, nothing new is accepted, and nothing old is lost.
    #[tokio::test(start_paused = true)]
    async fn a_full_disk_loses_no_order() -> Result<(), TestError> {
        let app = TestApp::new(shop(settings(), Stock::of(&[("tea", 2)]))).await?;
        let id = app.submit_with("/pack", &[("postback-run-at", "+1h")], &["tea"]).await?;
        app.fail_writes(true);
        assert!(app.submit("/pack", &["tea"]).await.is_err());
        app.pass(Duration::from_hours(2)).await;
        app.fail_writes(false);
        assert_eq!(app.finished(&id).await?.result::<usize>()?, 1);
        Ok(())
    }
}

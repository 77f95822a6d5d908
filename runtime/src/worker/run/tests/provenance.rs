//! Who chose the webhook of a report, for each way to write the attribute's expression `webhook`.

#![expect(clippy::unused_async, reason = "the tests need the attribute; the bodies have nothing to await")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{claim, context_of, run_it, submit_with};
use crate::app::App;
use crate::handler::{Config, Headers, Payload, State};
use crate::{async_handler, report_outcome};
use postback_wire::id::RequestId;
use postback_wire::webhook::Webhook;

/// The URL that the settings, the state and the payload of these tests all contain, because the text of a URL must not
/// decide who chose the URL.
const HOOK: &str = "https://example.com/in";

struct Settings {
    hook: String,
}

fn settings() -> Settings {
    Settings { hook: HOOK.to_owned() }
}

struct Hooks(Vec<String>);

#[derive(serde::Deserialize)]
struct Order {
    hook: String,
    #[serde(default)]
    twice: bool,
}

type Own = Config<Settings>;
type Done = Result<(), String>;

fn of_settings(config: &Settings) -> &str {
    &config.hook
}

fn either<'a>(config: &'a Settings, order: &'a Order) -> &'a str {
    if order.twice { &config.hook } else { &order.hook }
}

#[async_handler(webhook = config.hook)]
async fn of_config(config: Config<Settings>, request_id: RequestId) -> Done {
    drop(config);
    Ok(())
}

#[async_handler(webhook = of_settings(&config))]
async fn of_config_by_an_alias_and_a_function(config: Own, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = [&config.hook, &hooks.0[0]])]
async fn of_config_and_state(config: Own, hooks: State<Hooks>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = format!("{HOOK}"))]
async fn of_a_constant(_order: Payload<Order>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = { let hook = config; hook.hook.clone() })]
async fn that_moves_config(config: Own, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = order.hook)]
async fn of_payload(order: Payload<Order>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = order.hook)]
async fn of_a_part_of_the_payload(Payload(order): Payload<Order>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = either(&config, &order))]
async fn of_payload_by_a_function(config: Own, order: Payload<Order>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = if order.twice { config.hook.as_str() } else { of_settings(&config) })]
async fn that_looks_at_payload(config: Own, order: Payload<Order>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = headers.text("x-hook"))]
async fn of_headers(headers: Headers, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = format!("{}/{request_id}", config.hook))]
async fn with_the_id(config: Own, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = Webhook::trusted(&order.hook))]
async fn said_to_be_trusted(order: Payload<Order>, request_id: RequestId) -> Done {
    Ok(())
}

#[async_handler(webhook = Webhook::from_caller(&config.hook))]
async fn said_to_be_from_a_caller(config: Own, request_id: RequestId) -> Done {
    Ok(())
}

async fn by_hand(config: Own, request_id: RequestId) -> Done {
    report_outcome(&config.hook, &request_id, async { Ok(()) }).await
}

async fn by_hand_and_trusted(config: Own, request_id: RequestId) -> Done {
    report_outcome(&Webhook::trusted(&config.hook), &request_id, async { Ok(()) }).await
}

async fn plain() -> Done {
    Ok(())
}

/// Annotated functions that a handler calls with ids other than the id of the request.
mod nested {
    use super::*;

    #[async_handler(webhook = hook)]
    pub(super) async fn of_text(hook: &str, request_id: &str) -> Done {
        Ok(())
    }

    #[async_handler(webhook = config.hook)]
    pub(super) async fn of_settings(config: &Settings, request_id: &str) -> Done {
        Ok(())
    }

    #[async_handler(webhook = config.hook)]
    pub(super) async fn of_config(config: &Own, request_id: &str) -> Done {
        Ok(())
    }

    #[async_handler(webhook = hook)]
    pub(super) async fn of_anything<T: crate::IntoWebhook>(hook: T, request_id: &str) -> Done {
        Ok(())
    }

    #[async_handler(webhook = config.hook)]
    pub(super) async fn of_what_points_there(
        config: impl std::ops::Deref<Target = Settings>,
        request_id: &str,
    ) -> Done {
        Ok(())
    }

    pub(super) struct Job(pub(super) Own);

    impl Job {
        #[async_handler(webhook = self.0.hook)]
        pub(super) async fn of_self(&self, request_id: &str) -> Done {
            Ok(())
        }

        #[async_handler(webhook = Webhook::trusted(&self.0.hook))]
        pub(super) async fn of_self_and_trusted(&self, request_id: &str) -> Done {
            Ok(())
        }
    }

    /// An annotated function whose expression `webhook` names a local variable and not a parameter.
    #[async_handler(webhook = hook)]
    pub(super) fn of_a_local<'a>(config: &'a Own, request_id: &'a str) -> impl Future<Output = Done> + 'a {
        let hook = config.hook.as_str();
        async move { Ok(()) }
    }
}

async fn nests(config: Own) -> Done {
    nested::of_text(&config.hook, "text no").await?;
    nested::of_settings(&config, "settings no").await?;
    nested::of_config(&config, "config yes").await?;
    nested::of_config(&config.clone(), "clone yes").await?;
    nested::of_config(&Config::new(settings()), "made no").await?;
    nested::of_anything(&config.hook, "anything no").await?;
    nested::of_anything(Webhook::trusted(&config.hook), "anything-trusted yes").await?;
    nested::of_what_points_there(config.clone(), "points no").await?;
    nested::of_a_local(&config, "local no").await?;
    let job = nested::Job(config);
    job.of_self("self no").await?;
    job.of_self_and_trusted("self-trusted yes").await
}

/// Runs one request of the app's route. Returns the subject of each report, and whether the operator chose the webhook
/// of the report.
async fn reports_of(app: App<Settings>) -> Vec<(String, bool)> {
    let context = context_of(app, 1).await;
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-hook"), HeaderValue::from_static(HOOK))]);
    let body = Bytes::from(serde_json::json!({"hook": HOOK, "twice": true}).to_string());
    submit_with(&context, headers, body).await;
    run_it(&context, claim(&context).await).await;
    let store = context.outbox.store();
    store.barrier().await.unwrap();
    let rows = store.claim_reports(100).await.unwrap().rows;
    rows.iter().map(|row| (row.subject.to_string(), row.to.webhook().unwrap().is_operator())).collect()
}

macro_rules! chosen_by_operator {
    ($($handler:ident)*) => {[$({
        let app = App::new(settings()).state(Hooks(vec![HOOK.to_owned()])).route("/a", $handler);
        let chosen: Vec<bool> = reports_of(app).await.into_iter().map(|(_, by_operator)| by_operator).collect();
        (stringify!($handler), chosen)
    }),*]};
}

#[tokio::test]
async fn what_reads_only_config_state_and_constants_is_the_operators_choice() {
    for (handler, chosen) in chosen_by_operator! {
        of_config of_config_by_an_alias_and_a_function of_config_and_state of_a_constant that_moves_config
        said_to_be_trusted by_hand_and_trusted
    } {
        assert!(!chosen.is_empty() && chosen.iter().all(|by_operator| *by_operator), "{handler}: {chosen:?}");
    }
}

#[tokio::test]
async fn what_reads_a_request_is_its_callers_choice_however_it_is_written() {
    for (handler, chosen) in chosen_by_operator! {
        of_payload of_a_part_of_the_payload of_payload_by_a_function that_looks_at_payload of_headers with_the_id
        said_to_be_from_a_caller by_hand
    } {
        assert_eq!(chosen, [false], "{handler}");
    }
}

#[tokio::test]
async fn within_a_run_only_what_the_runtime_gave_is_known() {
    let reports = reports_of(App::new(settings()).route("/a", nests)).await;
    assert_eq!(reports.len(), 11, "{reports:?}");
    for (said, by_operator) in reports {
        assert_eq!(said.ends_with(" yes"), by_operator, "{said}");
    }
}

#[tokio::test]
async fn what_a_route_names_is_the_operators_choice() {
    let chosen = async |app: App<Settings>| reports_of(app).await.remove(0).1;
    assert!(chosen(App::new(settings()).route("/a", plain).webhook(HOOK)).await);
    assert!(!chosen(App::new(settings()).route("/a", plain).webhook(Webhook::from_caller(HOOK))).await);
}

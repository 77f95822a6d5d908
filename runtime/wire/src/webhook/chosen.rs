//! Webhooks for which the user's code says who chose them: the operator or a caller.

use super::{IntoWebhook, Provenance, Webhook, Webhooks};

/// A webhook, and whether the operator or a caller chose the webhook. [`Webhook::trusted`] and [`Webhook::from_caller`]
/// return this type.
///
/// You can use a `Chosen` wherever a webhook is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<W> {
    webhook: W,
    by: Provenance,
}

impl Webhook {
    /// Says that the operator chose this webhook, and not a caller.
    ///
    /// A workload server signs a report, and may send it into private networks, only if two conditions hold: the URL is
    /// below a trusted destination, and the operator chose the webhook. If the `webhook` expression reads only
    /// `Config`, `State` and constants, the attribute knows that the operator chose the webhook. For other expressions,
    /// such as a field of `self`, call this function.
    ///
    /// Do not call this function for a URL that came with a request. Otherwise the caller who sent the request could
    /// forge reports to your own receivers.
    ///
    /// ```
    /// use postback::{Webhook, async_handler};
    ///
    /// struct Importer {
    ///     webhook_url: String, // from the settings
    /// }
    ///
    /// impl Importer {
    ///     #[async_handler(webhook = Webhook::trusted(&self.webhook_url))]
    ///     async fn import(&self, request_id: &str) -> Result<(), String> {
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn trusted<W: IntoWebhook>(webhook: W) -> Chosen<W> {
        Chosen { webhook, by: Provenance::Operator }
    }

    /// Says that a caller chose this webhook, so that it is not trusted.
    ///
    /// The reports to this webhook are sent to public addresses only, even if the webhook's URL is below a trusted
    /// destination. The reports are unsigned, unless the webhook has its own secret. If you call
    /// [`trusted`](Self::trusted) with the returned value, the webhook is still not trusted.
    ///
    /// Use this function if you report with a `Poster` and without a workload server. A `Poster` cannot tell that a
    /// caller chose a URL. Without this function, it trusts each URL below a destination that was given to
    /// `PosterBuilder::trust`. A workload server does not trust a URL that came with a request, even without this
    /// function.
    ///
    /// ```
    /// use postback::{Webhook, async_handler};
    ///
    /// struct Order {
    ///     callback: Option<String>, // from an API of yours
    /// }
    ///
    /// #[async_handler(webhook = Webhook::from_caller(&order.callback))]
    /// async fn render(order: Order, request_id: u64) -> Result<(), String> {
    ///     Ok(())
    /// }
    /// ```
    pub fn from_caller<W: IntoWebhook>(webhook: W) -> Chosen<W> {
        Chosen { webhook, by: Provenance::Caller }
    }
}

impl<W: IntoWebhook> IntoWebhook for Chosen<W> {
    fn add_to(&self, webhooks: &mut Webhooks) {
        let before = webhooks.len();
        self.webhook.add_to(webhooks);
        webhooks.choose(before, self.by);
    }
}

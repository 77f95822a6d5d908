//! Webhooks for which the user's code says who chose them: the operator or a caller.

use super::{IntoWebhook, Provenance, Webhook, Webhooks};

/// A webhook, and whether the operator or a caller chose it. [`Webhook::trusted`] and [`Webhook::from_caller`] make
/// such a value.
///
/// You can use it wherever a webhook is expected.
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
    /// Do not call it for a URL that came with a request: the caller could then forge reports to your own receivers.
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
    /// Its reports are sent to public addresses only, even if its URL is below a trusted destination. They are
    /// unsigned, unless the webhook has a secret of its own. [`trusted`](Self::trusted) around this webhook changes
    /// nothing.
    ///
    /// Use this function if you report with a [`Poster`](crate::Poster) and without a workload server. Otherwise the
    /// `Poster` trusts every URL below a destination that was given to [`trust`](crate::PosterBuilder::trust), whoever
    /// chose the URL. A workload server does not trust a URL that came with a request, even without this function.
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

//! The destination of a stored report: a webhook, or a text that is not a valid URL.

use std::fmt;

use url::{Position, Url};

use super::Own;
use super::{Provenance, Webhook, WebhookError};
use crate::format::Format;

/// The destination of a report: a webhook, or a text from the user that is not a valid URL. An invalid text is stored,
/// so that the report's record in the store can show the error.
#[derive(Clone)]
pub enum Target {
    Webhook(Webhook),
    Unusable { url: Box<str>, why: WebhookError },
}

impl Target {
    /// Makes a target from the columns of a row in the store.
    pub fn stored(url: &str, own: Own) -> Self {
        match Self::parse(url) {
            Self::Webhook(webhook) => Self::Webhook(webhook.with_own(own)),
            unusable @ Self::Unusable { .. } => unusable,
        }
    }

    pub fn parse(url: &str) -> Self {
        match Webhook::new(url) {
            Ok(webhook) => Self::Webhook(webhook),
            Err(why) => Self::Unusable { url: url.into(), why },
        }
    }

    /// Sets who chose the webhook. If the webhook already has this information, the function changes nothing.
    #[must_use]
    pub fn or_chosen_by(self, by: Provenance) -> Self {
        match self {
            Self::Webhook(webhook) => {
                let chosen_by = webhook.own().chosen_by.or(Some(by));
                Self::Webhook(webhook.chosen_by(chosen_by))
            }
            unusable @ Self::Unusable { .. } => unusable,
        }
    }

    /// Sets the form of the reports. If the webhook has a form already, or the form is `None`, the function changes
    /// nothing.
    #[must_use]
    pub fn or_format(self, format: Option<Format>) -> Self {
        match (self, format) {
            (Self::Webhook(webhook), Some(format)) if webhook.own_format().is_none() => {
                Self::Webhook(webhook.format(format))
            }
            (unchanged, _) => unchanged,
        }
    }

    /// Returns the URL as text. If the target is not a valid URL, returns the text that the user gave.
    pub fn url(&self) -> &str {
        match self {
            Self::Webhook(webhook) => webhook.url().as_str(),
            Self::Unusable { url, .. } => url,
        }
    }

    /// Returns the origin of the URL: its scheme, host and port. Returns an empty text if the target is not a valid
    /// URL. Limits, fairness and circuits apply per origin.
    pub fn origin(&self) -> &str {
        match self {
            Self::Webhook(webhook) => origin_of(webhook.url()),
            Self::Unusable { .. } => "",
        }
    }

    /// Returns the webhook, or the reason why the user's text is not a valid URL.
    pub fn into_webhook(self) -> Result<Webhook, WebhookError> {
        match self {
            Self::Webhook(webhook) => Ok(webhook),
            Self::Unusable { why, .. } => Err(why),
        }
    }

    /// Returns a reference to the webhook, or to the reason why the user's text is not a valid URL.
    pub fn webhook(&self) -> Result<&Webhook, &WebhookError> {
        match self {
            Self::Webhook(webhook) => Ok(webhook),
            Self::Unusable { why, .. } => Err(why),
        }
    }
}

/// `Debug` shows the URL without the parts that may hold a secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(webhook) => webhook.fmt(f),
            Self::Unusable { why, .. } => write!(f, "Unusable({why})"),
        }
    }
}

impl From<Webhook> for Target {
    fn from(webhook: Webhook) -> Self {
        Self::Webhook(webhook)
    }
}

/// Returns the origin of a webhook's URL: its scheme, host and port.
pub fn origin_of(url: &Url) -> &str {
    // The text before the path is the origin, because a webhook's URL has no user name, and the URL parser removes the
    // port if it is the default port.
    &url[..Position::BeforePath]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url: &str| Target::parse(url).origin().to_owned();
        assert_eq!(origin("https://Exämple.com/hooks?token=1"), "https://xn--exmple-cua.com");
        assert_eq!(origin("https://example.com:443/a"), origin("https://example.com/b"));
        assert_eq!(origin("http://[::1]:8080/"), "http://[::1]:8080");
        assert_eq!(origin("ftp://example.com"), "");
        assert_eq!(origin("no url"), "");
    }

    #[test]
    fn what_cannot_be_called_is_kept_as_it_was_given() {
        let target = Target::parse("no url");
        assert_eq!(target.url(), "no url");
        assert!(target.webhook().unwrap_err().to_string().contains("absolute"));
    }
}

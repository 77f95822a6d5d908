//! Which form the reports to a webhook have.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::policy::destination::Destinations;
use postback_wire::report::{About, Format, Outcome};
use postback_wire::webhook::{Target, Webhook};

/// The forms that the operator has set. All clones share them, and they may change while the program runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formats(Arc<RwLock<Set>>);

#[derive(Debug, Default)]
struct Set {
    usual: Format,
    /// Those that have a form of their own.
    destinations: Destinations,
}

impl Set {
    fn new(usual: Format, destinations: Destinations) -> Self {
        Self { usual, destinations: destinations.with_formats() }
    }
}

impl Formats {
    /// Makes the forms: `usual`, unless a destination has its own.
    pub(crate) fn new(usual: Format, destinations: Destinations) -> Self {
        Self(Arc::new(RwLock::new(Set::new(usual, destinations))))
    }

    /// Takes the forms from now on from these settings.
    #[cfg(feature = "server")]
    pub(crate) fn replace(&self, usual: Format, destinations: Destinations) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Set::new(usual, destinations);
    }

    /// Returns the form of a report to this target: that of the webhook itself, of its destination, or the usual one. And
    /// returns the target with the form beside it, so that each attempt and each replay knows it.
    pub(crate) fn decide(&self, target: Target) -> (Format, Target) {
        let Target::Webhook(webhook) = target else { return (Format::Cortex, target) };
        if let Some(own) = webhook.own_format() {
            return (own, Target::Webhook(webhook));
        }
        let format = self.of(&webhook);
        // What has no form beside it has that of Cortex.
        let webhook = if format == Format::Cortex { webhook } else { webhook.format(format) };
        (format, Target::Webhook(webhook))
    }

    /// Returns the form of a report to a webhook that has none of its own.
    fn of(&self, webhook: &Webhook) -> Format {
        let set = self.0.read().unwrap_or_else(PoisonError::into_inner);
        set.destinations.find(webhook.url()).and_then(|destination| destination.format).unwrap_or(set.usual)
    }
}

/// The bodies of the reports of one outcome. Each is made once, when the first report needs it.
pub(super) struct Bodies<'a> {
    outcome: &'a Outcome,
    about: About<'a>,
    first: Option<(Format, Bytes)>,
    /// Those in other forms than the first. Most outcomes have none, and an empty list needs no allocation.
    others: Vec<(Format, Bytes)>,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(outcome: &'a Outcome, about: About<'a>) -> Self {
        Self { outcome, about, first: None, others: Vec::new() }
    }

    /// Returns the body in this form.
    pub(super) fn of(&mut self, format: Format) -> Bytes {
        if let Some((_, body)) = self.first.iter().chain(&self.others).find(|(of, _)| *of == format) {
            return body.clone();
        }
        let body = self.outcome.to_report_in(format, self.about);
        match self.first {
            None => self.first = Some((format, body.clone())),
            Some(_) => self.others.push((format, body.clone())),
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::policy::destination::Destination;

    #[test]
    fn a_webhook_comes_before_its_endpoint_and_that_before_the_usual_form() {
        let url = |text| Url::parse(text).unwrap();
        let of = |text, format| Destination { url: url(text), secrets: Vec::new(), private: false, format };
        let list = vec![
            of("https://a.example/in", Some(Format::Fal)),
            of("https://a.example/in/x", None),
            of("https://b.example/", None),
        ];
        let formats = Formats::new(Format::Standard, Destinations::new(list, &[]));
        let decided = |text: &str| formats.decide(Webhook::new(text).unwrap().into());
        assert_eq!(decided("https://a.example/in/x").0, Format::Fal);
        assert_eq!(
            (decided("https://a.example/").0, decided("https://b.example/").0),
            (Format::Standard, Format::Standard)
        );
        let own = Webhook::new("https://a.example/in").unwrap().format(Format::Cortex);
        assert_eq!(formats.decide(own.into()).0, Format::Cortex);
        assert_eq!(decided("https://b.example/").1.webhook().unwrap().own_format(), Some(Format::Standard));
        assert_eq!(formats.decide(Target::parse("no URL")).0, Format::Cortex);
    }
}

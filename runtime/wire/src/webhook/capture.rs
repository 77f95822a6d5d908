//! Collects the webhooks of a call when the call begins. At that time, the URLs are only copied. They are parsed when
//! they are needed.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use url::Url;

use super::provenance::stricter;
use super::{Provenance, Target, Webhook};

/// The number of bytes that are reserved for the call's id after the first URL. With this reserve, the URL and the id
/// need only one allocation. A UUID has 36 bytes.
const ROOM_FOR_ID: usize = 40;

/// A type whose values can be used as the webhook of a call.
///
/// - a URL as text: `str`, `String`, `Box<str>`, `Cow<str>`;
/// - a parsed URL: `Url`, `http::Uri`;
/// - a [`Webhook`], which can have headers and a secret;
/// - an `Option` of these, where `None` means no report;
/// - a slice, an array or a `Vec` of these, for several webhooks;
/// - a reference, `Box`, `Rc` or `Arc` to each of these.
///
/// To implement the trait for your own type, call the implementation of one of the types above:
///
/// ```
/// use postback::{IntoWebhook, Webhooks};
///
/// struct Customer {
///     hook: Option<String>,
/// }
///
/// impl IntoWebhook for Customer {
///     fn add_to(&self, webhooks: &mut Webhooks) {
///         self.hook.add_to(webhooks);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as a webhook",
    label = "not a webhook",
    note = "a webhook is a URL (`str`, `String`, `Url`, `http::Uri`), a `postback::Webhook`, or an `Option`, a slice or a `Vec` of these"
)]
pub trait IntoWebhook {
    /// Adds the webhooks of this value to `webhooks`. A value has no webhook, one webhook or several webhooks.
    fn add_to(&self, webhooks: &mut Webhooks);
}

/// The webhooks of one call of an annotated function. The runtime makes an empty list, and [`IntoWebhook::add_to`] adds
/// webhooks to the list.
// Invariant: an empty list needs no allocation. A list with one URL and an id of usual length needs one allocation.
#[derive(Clone, Default)]
pub struct Webhooks {
    /// The text of all URLs, one directly after another. The id of the call may follow the URLs.
    text: String,
    targets: Targets,
}

/// The webhooks of a call. Each webhook is a range in `Webhooks::text`, or a `Webhook` that the user gave.
///
/// The enum is kept small, because the future of each annotated call contains it.
#[derive(Clone, Default)]
enum Targets {
    #[default]
    None,
    /// One URL that is not parsed yet. Its text is the range from 0 to `end` in `Webhooks::text`.
    Text {
        end: usize,
        chosen_by: Option<Provenance>,
    },
    Webhook(Webhook),
    /// A list of two or more webhooks.
    Listed(Vec<Given>),
}

#[derive(Clone)]
enum Given {
    /// A URL that is not parsed yet. Its text is the range from `start` to `end` in `Webhooks::text`.
    Text {
        start: usize,
        end: usize,
        chosen_by: Option<Provenance>,
    },
    Webhook(Webhook),
}

impl Webhooks {
    #[doc(hidden)]
    pub fn of(webhook: &(impl IntoWebhook + ?Sized)) -> Self {
        let mut webhooks = Self::default();
        webhook.add_to(&mut webhooks);
        webhooks
    }

    #[doc(hidden)]
    pub fn is_empty(&self) -> bool {
        matches!(self.targets, Targets::None)
    }

    #[doc(hidden)]
    pub fn len(&self) -> usize {
        match &self.targets {
            Targets::None => 0,
            Targets::Text { .. } | Targets::Webhook(_) => 1,
            Targets::Listed(listed) => listed.len(),
        }
    }

    /// Writes the call's id after the URLs. Returns the index at which the id begins.
    #[doc(hidden)]
    pub fn append_id(&mut self, id: impl fmt::Display) -> usize {
        let start = self.text.len();
        // Writing to a `String` does not fail. If the user's `Display` returns an error, the id is only the text that
        // was written before the error.
        let _ = write!(self.text, "{id}");
        start
    }

    /// Returns the text that begins at the index `start`. If [`append_id`](Self::append_id) returned `start`, the text
    /// is the call's id.
    #[doc(hidden)]
    pub fn text_from(&self, start: usize) -> &str {
        self.text.get(start..).unwrap_or_default()
    }

    /// Parses the URLs that are not parsed yet, and returns all webhooks of the call.
    #[doc(hidden)]
    pub fn resolve(&self) -> impl Iterator<Item = Target> {
        let (one, listed) = match &self.targets {
            Targets::None => (None, [].as_slice()),
            Targets::Text { end, chosen_by } => (Some(parse(&self.text[..*end], *chosen_by)), [].as_slice()),
            Targets::Webhook(webhook) => (Some(webhook.clone().into()), [].as_slice()),
            Targets::Listed(listed) => (None, listed.as_slice()),
        };
        one.into_iter().chain(listed.iter().map(|given| match given {
            Given::Text { start, end, chosen_by } => parse(&self.text[*start..*end], *chosen_by),
            Given::Webhook(webhook) => webhook.clone().into(),
        }))
    }

    /// Parses the URLs that are not parsed yet, and returns all webhooks of the call. If the user's code does not say
    /// who chose a webhook, the webhook counts as chosen by `default`.
    #[doc(hidden)]
    pub fn resolve_for(&self, default: Provenance) -> impl Iterator<Item = Target> {
        self.resolve().map(move |target| target.or_chosen_by(default))
    }

    /// Sets who chose the webhooks: `by` chose the webhook at the index `from` and all later webhooks.
    pub(super) fn choose(&mut self, from: usize, by: Provenance) {
        match &mut self.targets {
            Targets::Text { chosen_by, .. } if from == 0 => *chosen_by = Some(stricter(*chosen_by, by)),
            Targets::Webhook(webhook) if from == 0 => choose(webhook, by),
            Targets::Listed(listed) => {
                for given in listed.iter_mut().skip(from) {
                    match given {
                        Given::Text { chosen_by, .. } => *chosen_by = Some(stricter(*chosen_by, by)),
                        Given::Webhook(webhook) => choose(webhook, by),
                    }
                }
            }
            Targets::None | Targets::Text { .. } | Targets::Webhook(_) => {}
        }
    }

    fn push_text(&mut self, url: impl fmt::Display, length_hint: usize) {
        if self.text.is_empty() {
            self.text.reserve(length_hint + ROOM_FOR_ID);
        }
        let start = self.append_id(url);
        self.push(Given::Text { start, end: self.text.len(), chosen_by: None });
    }

    fn push(&mut self, given: Given) {
        self.targets = match mem::take(&mut self.targets) {
            Targets::None => match given {
                // `Targets::Text` has no field `start`, because the text of the first URL begins at 0.
                Given::Text { end, chosen_by, .. } => Targets::Text { end, chosen_by },
                Given::Webhook(webhook) => Targets::Webhook(webhook),
            },
            Targets::Text { end, chosen_by } => Targets::Listed(vec![Given::Text { start: 0, end, chosen_by }, given]),
            Targets::Webhook(first) => Targets::Listed(vec![Given::Webhook(first), given]),
            Targets::Listed(mut listed) => {
                listed.push(given);
                Targets::Listed(listed)
            }
        };
    }
}

fn parse(url: &str, chosen_by: Option<Provenance>) -> Target {
    let target = Target::parse(url);
    match chosen_by {
        Some(by) => target.or_chosen_by(by),
        None => target,
    }
}

fn choose(webhook: &mut Webhook, by: Provenance) {
    let strictest = stricter(webhook.own().chosen_by, by);
    *webhook = webhook.clone().chosen_by(Some(strictest));
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhooks({})", self.len())
    }
}

impl IntoWebhook for str {
    fn add_to(&self, webhooks: &mut Webhooks) {
        webhooks.push_text(self, self.len());
    }
}

impl IntoWebhook for String {
    fn add_to(&self, webhooks: &mut Webhooks) {
        self.as_str().add_to(webhooks);
    }
}

impl IntoWebhook for Url {
    fn add_to(&self, webhooks: &mut Webhooks) {
        self.as_str().add_to(webhooks);
    }
}

impl IntoWebhook for Uri {
    fn add_to(&self, webhooks: &mut Webhooks) {
        let scheme = self.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
        let authority = self.authority().map_or(0, |authority| authority.as_str().len());
        let path = self.path_and_query().map_or(0, |path| path.as_str().len());
        webhooks.push_text(self, scheme + authority + path);
    }
}

impl IntoWebhook for Webhook {
    fn add_to(&self, webhooks: &mut Webhooks) {
        webhooks.push(Given::Webhook(self.clone()));
    }
}

impl<T: IntoWebhook + ToOwned + ?Sized> IntoWebhook for Cow<'_, T> {
    fn add_to(&self, webhooks: &mut Webhooks) {
        self.as_ref().add_to(webhooks);
    }
}

impl<T: IntoWebhook> IntoWebhook for Option<T> {
    fn add_to(&self, webhooks: &mut Webhooks) {
        if let Some(webhook) = self {
            webhook.add_to(webhooks);
        }
    }
}

impl<T: IntoWebhook> IntoWebhook for [T] {
    fn add_to(&self, webhooks: &mut Webhooks) {
        for webhook in self {
            webhook.add_to(webhooks);
        }
    }
}

impl<T: IntoWebhook, const N: usize> IntoWebhook for [T; N] {
    fn add_to(&self, webhooks: &mut Webhooks) {
        self.as_slice().add_to(webhooks);
    }
}

impl<T: IntoWebhook> IntoWebhook for Vec<T> {
    fn add_to(&self, webhooks: &mut Webhooks) {
        self.as_slice().add_to(webhooks);
    }
}

macro_rules! implement_for_pointers {
    ($($pointer:ty),*) => {$(
        impl<T: IntoWebhook + ?Sized> IntoWebhook for $pointer {
            fn add_to(&self, webhooks: &mut Webhooks) {
                (**self).add_to(webhooks);
            }
        }
    )*};
}

implement_for_pointers!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(webhook: &(impl IntoWebhook + ?Sized)) -> Vec<String> {
        Webhooks::of(webhook).resolve().map(|target| target.url().to_owned()).collect()
    }

    #[test]
    fn everything_that_names_a_url_is_a_webhook() {
        let text = "https://example.com/a";
        let one = [text.to_owned()];
        assert_eq!(urls(text), one);
        assert_eq!(urls(&String::from(text)), one);
        assert_eq!(urls(&Box::<str>::from(text)), one);
        assert_eq!(urls(&Cow::Borrowed(text)), one);
        assert_eq!(urls(&Arc::<str>::from(text)), one);
        assert_eq!(urls(&Url::parse(text).unwrap()), one);
        assert_eq!(urls(&text.parse::<Uri>().unwrap()), one);
        assert_eq!(urls(&Webhook::new(text).unwrap()), one);
        assert_eq!(urls(&Some(&text)), one);
        assert!(urls(&None::<String>).is_empty());
        assert_eq!(urls(&vec![Some(text), None, Some("x")]), [text, "x"]);
    }

    #[test]
    fn what_is_no_url_is_told_when_it_is_resolved() {
        let webhooks = Webhooks::of("nonsense");
        let target = webhooks.resolve().next().unwrap();
        assert_eq!(target.url(), "nonsense");
        target.webhook().unwrap_err();
    }

    #[test]
    fn headers_and_secret_go_with_their_url() {
        let plain = Webhook::new("https://example.com/plain").unwrap();
        let own = Webhook::new("https://example.com/own").unwrap().header("x-a", "1").unwrap();
        let all = Webhooks::of(&vec![plain.clone(), own.clone()]);
        let resolved: Vec<_> = all.resolve().map(|target| target.into_webhook().unwrap()).collect();
        assert_eq!(resolved, [plain, own]);
    }

    #[test]
    fn who_chose_goes_with_each_url_and_a_strangers_choice_stays_one() {
        use Provenance::{Caller, Operator};
        let chosen = |webhook: &dyn IntoWebhook, unsaid| -> Vec<Provenance> {
            let webhooks = Webhooks::of(webhook);
            let by = |target: Target| target.into_webhook().unwrap().own().chosen_by.unwrap();
            webhooks.resolve_for(unsaid).map(by).collect()
        };
        let (url, own) = ("https://example.com/a", Webhook::new("https://example.com/own").unwrap());
        for unsaid in [Operator, Caller] {
            assert_eq!(chosen(&url, unsaid), [unsaid]);
            assert_eq!(chosen(&own, unsaid), [unsaid]);
            assert_eq!(chosen(&Webhook::trusted(url), unsaid), [Operator]);
            assert_eq!(chosen(&Webhook::from_caller(&own), unsaid), [Caller]);
            assert_eq!(chosen(&Webhook::trusted(Webhook::from_caller(url)), unsaid), [Caller]);
            assert_eq!(chosen(&Webhook::from_caller(Webhook::trusted(own.clone())), unsaid), [Caller]);
            let mixed =
                vec![Webhook::trusted(url), Webhook::from_caller(url), Webhook::trusted("https://example.com/b")];
            assert_eq!(chosen(&mixed, unsaid), [Operator, Caller, Operator]);
            assert_eq!(chosen(&Webhook::from_caller(mixed), unsaid), [Caller; 3]);
            assert_eq!(chosen(&Webhook::trusted([url, url]), unsaid), [Operator; 2]);
        }
        assert_eq!(own.own().chosen_by, None, "a copy that says who chose it leaves the original unchanged");
    }

    #[test]
    fn the_id_stands_behind_the_urls() {
        let uri: Uri = "https://example.com/a-long-path?and=a-query".parse().unwrap();
        for mut webhooks in [Webhooks::of("https://example.com/a"), Webhooks::of(&uri)] {
            let capacity = webhooks.text.capacity();
            let at = webhooks.append_id(crate::id::RequestId::generate());
            assert_eq!(webhooks.text_from(at).len(), 36);
            assert_eq!(webhooks.text.capacity(), capacity, "URL and id fit into one allocation");
        }
    }
}

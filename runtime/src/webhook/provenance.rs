//! Who chose the URL of a webhook.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::{IntoWebhook, Webhook, Webhooks};

/// Who chose a URL. Only one that the operator's side chose can be trusted, whatever it spells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Provenance {
    /// Settings, state or constants of the program.
    Operator,
    /// A request, or whoever it cannot be told.
    Caller,
}

/// A webhook of which is said who chose it; made by [`Webhook::trusted`] and [`Webhook::from_caller`].
///
/// It goes wherever a webhook is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<W> {
    webhook: W,
    by: Provenance,
}

impl Webhook {
    /// Says that the operator's side chose this webhook, and no caller.
    ///
    /// In a workload server a report is signed, and let into private networks, only if its URL is below a trusted
    /// destination *and* the operator's side chose it. The attribute sees that of a `webhook` that reads nothing but `Config`,
    /// `State` and constants. Where it cannot see it, as with a field of `self`, this says it. To say it of a URL that came with a
    /// request lets its caller forge reports to your own receivers.
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

    /// Says that a stranger chose this webhook: it is sent unsigned, unless it has a secret of its own, and to public
    /// addresses only, even if it spells a trusted URL. It stays so within [`trusted`](Self::trusted).
    ///
    /// For libraries, where a report to a URL that was given to [`trust`](crate::PosterBuilder::trust) is trusted otherwise. In
    /// a workload server a URL that came with a request is a stranger's without it.
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

/// What was said first and what is said now: a stranger's choice stays one.
pub(super) fn stricter(said: Option<Provenance>, now: Provenance) -> Provenance {
    if said == Some(Provenance::Caller) { Provenance::Caller } else { now }
}

/// What a handler is given of the operator's own: `Config` and `State`, and references to them.
pub trait Operators {
    /// Whether it was given by the runtime. One that was made by hand may hold anything.
    fn is_operators(&self) -> bool;
}

macro_rules! pointers_ask_further {
    ($($pointer:ty),*) => {$(
        impl<T: Operators + ?Sized> Operators for $pointer {
            fn is_operators(&self) -> bool {
                (**self).is_operators()
            }
        }
    )*};
}

pointers_ask_further!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

/// Asks a parameter of an annotated function, of whatever type: `Whose(&parameter).is_operators()`.
///
/// What is no [`Operators`] has no such method here, and gets that of [`Anybodys`]: a type that is not known says no, and no
/// bound is put on it.
#[derive(Debug)]
pub struct Whose<'a, T: ?Sized>(pub &'a T);

impl<T: Operators + ?Sized> Whose<'_, T> {
    /// See [`Operators::is_operators`].
    pub fn is_operators(&self) -> bool {
        self.0.is_operators()
    }
}

/// What cannot be told to be the operator's.
#[derive(Debug)]
pub struct Anybodys;

impl Anybodys {
    /// It cannot be told.
    #[expect(clippy::unused_self, reason = "it is called where that of `Whose` is not there")]
    pub fn is_operators(&self) -> bool {
        false
    }
}

impl<T: ?Sized> Deref for Whose<'_, T> {
    type Target = Anybodys;

    fn deref(&self) -> &Anybodys {
        &Anybodys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(bool);

    impl Operators for Given {
        fn is_operators(&self) -> bool {
            self.0
        }
    }

    type Alias = Given;

    fn generic<T>(value: &T) -> bool {
        Whose(value).is_operators()
    }

    #[test]
    fn a_parameter_of_any_type_can_be_asked() {
        let (given, made): (Alias, Given) = (Given(true), Given(false));
        assert!(Whose(&given).is_operators() && Whose(&&given).is_operators());
        assert!(Whose(&Arc::new(Given(true))).is_operators() && Whose(&Box::new(&mut Given(true))).is_operators());
        assert!(!Whose(&made).is_operators() && !Whose(&&made).is_operators());
        assert!(!Whose("https://example.com").is_operators() && !Whose(&Some(given)).is_operators());
        assert!(!generic(&Given(true)), "what is not known is not known");
    }
}

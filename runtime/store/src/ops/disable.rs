//! Disables a URL or a whole origin for an operator: its reports are held until the operator enables it.

use crate::Store;
use crate::error::Error;
use crate::local::Local;
use crate::operation::{Effect, Operation};

/// The operation that disables a URL or an origin. Reports that wait already are held when their attempt would begin.
#[derive(Debug)]
pub(crate) struct Disable {
    /// A URL, or the scheme, host and port of an origin.
    pub name: String,
    pub reason: String,
}

impl Operation for Disable {
    /// Whether the operator had not disabled the name before.
    type Answer = bool;

    fn committed(&self, _: &bool, local: &Local) {
        local.disabled.add_by_operator(&self.name);
    }

    fn effect(_: &bool) -> Effect {
        Effect::Silent
    }
}

/// The result of [`Store::disable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledNow {
    /// Reports to the name are held from now on.
    Done,
    /// The operator had disabled the name before. The reason is replaced.
    Already,
    /// Too many URLs are disabled. Nothing was changed.
    Full,
}

impl Store {
    /// Disables a URL, or an origin (scheme, host and port), until [`Store::enable`] is called with the same name. In
    /// contrast to a URL that its receiver has disabled, no report is sent to see whether the receiver works again.
    pub async fn disable(&self, name: &str, reason: &str) -> Result<DisabledNow, Error> {
        if !self.0.shared.local.disabled.has_room_for(name) {
            return Ok(DisabledNow::Full);
        }
        let _turn = self.0.shared.local.disabled.turn().await;
        let new = self.ask(Disable { name: name.to_owned(), reason: reason.to_owned() }).await?;
        Ok(if new { DisabledNow::Done } else { DisabledNow::Already })
    }
}

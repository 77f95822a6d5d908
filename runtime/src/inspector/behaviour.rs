//! How an inbox answers: as a receiver should, or badly, so that a person can watch how the sender deals with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The largest number of inboxes whose answer is set.
const MAX_INBOXES: usize = 100;
/// The largest `retry_after`, in seconds: one day.
const MAX_RETRY_AFTER: u32 = 86_400;

/// What an inbox does with a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Answers with 204, or passes the webhook on.
    #[default]
    Accept,
    /// Answers with this status.
    Status(u16),
    /// Answers with a redirect to another path of the same inbox.
    Redirect,
    /// Never answers.
    Hang,
    /// Resets the connection instead of answering.
    Reset,
    /// Answers with 200, and sends one byte of the body each second.
    Drip,
}

/// How an inbox answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behaviour {
    pub(super) answer: Kind,
    /// The value of the header `retry-after` of an answer with a status.
    #[serde(default)]
    pub(super) retry_after: Option<u32>,
    /// How many of a hundred webhooks are answered so. The others are accepted.
    #[serde(default = "all")]
    pub(super) share: u8,
    /// How many webhooks are answered so, before all are accepted again. `None`: without end.
    #[serde(default)]
    pub(super) times: Option<u32>,
}

fn all() -> u8 {
    100
}

impl Behaviour {
    /// Checks values that a person has chosen.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Kind::Status(status) = self.answer
            && !(200..=599).contains(&status)
        {
            return Err(format!("the status {status} cannot be an answer; use 200 to 599"));
        }
        if !(1..=100).contains(&self.share) {
            return Err(format!("the share {} is not a part of a hundred; use 1 to 100", self.share));
        }
        if self.retry_after.is_some_and(|seconds| seconds > MAX_RETRY_AFTER) {
            return Err(format!("retry_after is too long; use at most {MAX_RETRY_AFTER} seconds"));
        }
        Ok(())
    }
}

/// The behaviours of all inboxes that have one.
#[derive(Debug, Default)]
pub(super) struct Behaviours(Mutex<BTreeMap<String, Behaviour>>);

impl Behaviours {
    /// Sets the behaviour of an inbox.
    pub(super) fn set(&self, inbox: String, behaviour: Behaviour) -> Result<(), String> {
        behaviour.check()?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if behaviour.answer == Kind::Accept {
            all.remove(&inbox);
        } else if all.len() >= MAX_INBOXES && !all.contains_key(&inbox) {
            return Err(format!("{MAX_INBOXES} inboxes misbehave already, which is the limit; let one accept again"));
        } else {
            all.insert(inbox, behaviour);
        }
        Ok(())
    }

    pub(super) fn all(&self) -> BTreeMap<String, Behaviour> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decides what to do with the next webhook of an inbox. `dice` is a random number below 100.
    pub(super) fn next(&self, inbox: &str, dice: u8) -> (Kind, Option<u32>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(behaviour) = all.get_mut(inbox) else { return (Kind::Accept, None) };
        if dice >= behaviour.share {
            return (Kind::Accept, None);
        }
        let decided = (behaviour.answer, behaviour.retry_after);
        match &mut behaviour.times {
            Some(0 | 1) => {
                all.remove(inbox);
            }
            Some(times) => *times -= 1,
            None => {}
        }
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(text: &str) -> Behaviour {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_inbox_misbehaves_for_a_share_and_so_many_times() {
        let behaviours = Behaviours::default();
        let text = r#"{"answer":{"status":429},"retry_after":3,"share":40,"times":2}"#;
        behaviours.set("a".to_owned(), behaviour(text)).unwrap();
        assert_eq!(behaviours.next("a", 40), (Kind::Accept, None));
        assert_eq!(behaviours.next("a", 39), (Kind::Status(429), Some(3)));
        assert_eq!(behaviours.next("b", 0), (Kind::Accept, None));
        assert_eq!(behaviours.next("a", 0), (Kind::Status(429), Some(3)));
        assert_eq!(behaviours.next("a", 0), (Kind::Accept, None));
        assert!(behaviours.all().is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let behaviours = Behaviours::default();
        for text in [
            r#"{"answer":{"status":100}}"#,
            r#"{"answer":"hang","share":0}"#,
            r#"{"answer":"hang","share":101}"#,
            r#"{"answer":{"status":503},"retry_after":100000}"#,
        ] {
            assert!(behaviours.set("a".to_owned(), behaviour(text)).is_err(), "{text}");
        }
        for n in 0..MAX_INBOXES {
            behaviours.set(n.to_string(), behaviour(r#"{"answer":"reset"}"#)).unwrap();
        }
        assert!(behaviours.set("more".to_owned(), behaviour(r#"{"answer":"reset"}"#)).is_err());
        behaviours.set("5".to_owned(), behaviour(r#"{"answer":"accept"}"#)).unwrap();
        behaviours.set("more".to_owned(), behaviour(r#"{"answer":"drip"}"#)).unwrap();
    }
}

//! Why a request ended: the reason for log and store, and the reason that a report can show.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Status;

/// The reason why a request ended, in more detail than the request's status. Logs, metrics and the store contain this
/// reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is no reason besides the status: the request was completed or cancelled.
    None,
    /// The handler returned `Err`.
    Error,
    /// The handler panicked.
    Panic,
    /// The handler's future was dropped before it was finished.
    Dropped,
    /// The handler ran longer than its time limit.
    Timeout,
    /// The process died while the handler ran, and has died for this request as often as the setting
    /// `worker.max_crashes` allows.
    Lost,
    /// The handler returned `Ok`, but its result could not be serialised to JSON.
    Unserializable,
    /// The request had not begun to run by the deadline that its caller set.
    Expired,
    /// The request was completed, and its result is kept outside the store. What the outcome has as the result is a
    /// [`StoredResult`](super::StoredResult).
    Elsewhere,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Error,
        Self::Panic,
        Self::Dropped,
        Self::Timeout,
        Self::Lost,
        Self::Unserializable,
        Self::Expired,
        Self::Elsewhere,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Dropped => "dropped",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Unserializable => "unserializable",
            Self::Expired => "expired",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// Returns the reason for which [`as_str`](Self::as_str) returns the given name, or `None` if there is no such
    /// reason.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// The reason why a request was not completed. In JSON, it is a string such as `"timeout"`.
///
/// A report has the member `reason` if the handler asks for it with the attribute's argument `error`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The handler returned `Err`.
    Error,
    /// The handler panicked.
    Panic,
    /// The handler ran longer than its time limit: that of the server (`worker.timeout`), of the route, or of the caller.
    Timeout,
    /// The server's process died while the handler ran. For this request, the process has now died as many times as the
    /// server's setting `worker.max_crashes` allows, so the request is not run again.
    Lost,
    /// The handler's future was dropped before it was finished.
    Dropped,
    /// The handler returned `Ok`, but its result cannot be serialised to JSON.
    Unserializable,
    /// The request was cancelled.
    Cancelled,
    /// The request had not begun to run by the deadline that its caller set.
    Expired,
    /// A reason that this version of Postback does not know.
    Other(Box<str>),
}

impl EndReason {
    /// Returns the reason as a report contains it: `error`, `panic`, `timeout`, `lost`, `dropped`, `unserializable`,
    /// `cancelled` or `expired`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Dropped => "dropped",
            Self::Unserializable => "unserializable",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Other(word) => word,
        }
    }

    /// Returns the reason that reports show for an outcome, or `None` if the request was completed or has not ended.
    #[doc(hidden)]
    pub fn of(status: Status, reason: Reason) -> Option<Self> {
        match (status, reason) {
            (Status::Completed | Status::Progress, _) => None,
            (Status::Cancelled, _) => Some(Self::Cancelled),
            (Status::Failed, Reason::None | Reason::Error | Reason::Elsewhere) => Some(Self::Error),
            (Status::Failed, Reason::Panic) => Some(Self::Panic),
            (Status::Failed, Reason::Dropped) => Some(Self::Dropped),
            (Status::Failed, Reason::Timeout) => Some(Self::Timeout),
            (Status::Failed, Reason::Lost) => Some(Self::Lost),
            (Status::Failed, Reason::Unserializable) => Some(Self::Unserializable),
            (Status::Failed, Reason::Expired) => Some(Self::Expired),
        }
    }
}

impl From<&str> for EndReason {
    fn from(word: &str) -> Self {
        match word {
            "error" => Self::Error,
            "panic" => Self::Panic,
            "timeout" => Self::Timeout,
            "lost" => Self::Lost,
            "dropped" => Self::Dropped,
            "unserializable" => Self::Unserializable,
            "cancelled" => Self::Cancelled,
            "expired" => Self::Expired,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EndReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EndReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        Ok(Self::from(&*word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.as_str()), Some(reason));
        }
    }

    #[test]
    fn each_way_to_end_has_a_word_that_stays() {
        let told = |status, reason| EndReason::of(status, reason).map(|told| told.to_string());
        let failed = Reason::ALL.map(|reason| told(Status::Failed, reason).unwrap());
        let words = ["error", "error", "panic", "dropped", "timeout", "lost", "unserializable", "expired", "error"];
        assert_eq!(failed, words);
        for reason in Reason::ALL {
            assert_eq!(told(Status::Cancelled, reason).as_deref(), Some("cancelled"));
            assert_eq!(told(Status::Completed, reason), None);
        }
    }

    #[test]
    fn a_word_is_read_back_and_one_of_a_later_version_is_kept() {
        for word in
            ["error", "panic", "timeout", "lost", "dropped", "unserializable", "cancelled", "expired", "ev\"icted\n"]
        {
            let json = serde_json::to_string(word).unwrap();
            let read: EndReason = serde_json::from_str(&json).unwrap();
            assert_eq!(read.as_str(), word);
            assert_eq!(matches!(read, EndReason::Other(_)), word.starts_with("ev"));
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            let from_value: EndReason = serde_json::from_value(word.into()).unwrap();
            assert_eq!(from_value, read);
        }
        serde_json::from_str::<EndReason>("5").unwrap_err();
    }
}

//! The states of requests and reports: how a row stores them, and how a statement names them.
//!
//! Only this file writes states as numbers, apart from the old versions of the schema, which never change. A statement
//! has to contain the number itself instead of a parameter, because otherwise a database does not use the partial indexes.
//! So [`sql!`] replaces the names at compile time.

use super::codec::{Unconverted, misread};
use crate::record::{DeliveryState, Next};
use postback_wire::report::Status;

macro_rules! states {
    ($(
        $(#[$doc:meta])*
        $states:ident, or $unknown:literal { $($(#[$about:meta])* $state:ident = $code:literal $name:literal,)+ }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub(crate) enum $states {
                $($(#[$about])* $state = $code,)+
            }

            impl $states {
                /// Returns the state with this code.
                pub(crate) fn of(code: i64) -> Result<Self, Unconverted> {
                    match code {
                        $($code => Ok(Self::$state),)+
                        _ => Err(misread($unknown)),
                    }
                }

                pub(crate) fn code(self) -> i64 {
                    match self {
                        $(Self::$state => $code,)+
                    }
                }
            }
        )+

        /// The names of states that the macro [`sql!`] replaces, each with the text that replaces it: the code of the
        /// state as digits.
        const NAMES: &[(&str, &str)] = &[
            $($(($name, stringify!($code)),)+)+
            ("{first end}", "2"),
        ];
    };
}

// Invariant: all states with a code of 2 or more are final, and no other state is final. A report waits if the code of
// its state is 0 or less.
states! {
    /// The states of a request.
    RequestState, or "a request has an unknown state" {
        Queued = 0 "{queued}",
        Running = 1 "{running}",
        Completed = 2 "{completed}",
        Failed = 3 "{failed}",
        Cancelled = 4 "{cancelled}",
    }

    /// The states of a report.
    ReportState, or "a report has an unknown state" {
        /// The report is held: the report waits until its URL is enabled.
        Held = -2 "{held}",
        /// The report is parked: the report waits until its origin has a turn.
        Parked = -1 "{parked}",
        Pending = 0 "{pending}",
        Delivering = 1 "{delivering}",
        Delivered = 2 "{delivered}",
        Dead = 3 "{dead}",
        Refused = 4 "{refused}",
        Gone = 5 "{gone}",
    }
}

/// Makes a statement from a text that contains names of states, such as `state = {running}`. The condition `state >=
/// {first end}` selects all final states.
macro_rules! sql {
    ($($text:tt)+) => {{
        const TEXT: &str = concat!($($text)+);
        const SPELLED: ([u8; TEXT.len()], usize) = $crate::sql::states::spell(TEXT);
        const SQL: &str = $crate::sql::states::first(&SPELLED.0, SPELLED.1);
        SQL
    }};
}
pub(crate) use sql;

/// Replaces the names of states in a text by the codes of the states. Returns the new text and its length. The new text
/// fits into `N` bytes, because a code is never longer than the name that it replaces.
pub(crate) const fn spell<const N: usize>(text: &str) -> ([u8; N], usize) {
    let text = text.as_bytes();
    let (mut spelled, mut len) = ([0; N], 0);
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'{' {
            spelled[len] = text[at];
            len += 1;
            at += 1;
            continue;
        }
        let (name, code) = named(text, at);
        let mut digit = 0;
        while digit < code.len() {
            spelled[len] = code[digit];
            len += 1;
            digit += 1;
        }
        at += name;
    }
    (spelled, len)
}

/// Returns the length of the name that begins at the byte `at`, and the code of the state with that name, as digits.
#[expect(clippy::panic, reason = "only constants call it: an unknown name is an error of the compiler")]
const fn named(text: &[u8], at: usize) -> (usize, &'static [u8]) {
    let mut candidate = 0;
    while candidate < NAMES.len() {
        let (name, code) = NAMES[candidate];
        let name = name.as_bytes();
        let mut same = 0;
        while same < name.len() && at + same < text.len() && text[at + same] == name[same] {
            same += 1;
        }
        if same == name.len() {
            return (same, code.as_bytes());
        }
        candidate += 1;
    }
    panic!("a statement names an unknown state")
}

/// Returns the first `len` bytes as a text.
#[expect(clippy::panic, reason = "only constants call it: a wrong text is an error of the compiler")]
pub(crate) const fn first(bytes: &[u8], len: usize) -> &str {
    match str::from_utf8(bytes.split_at(len).0) {
        Ok(text) => text,
        Err(_) => panic!("a statement is not UTF-8"),
    }
}

/// Replaces the names of states in a text by the codes of the states, as [`sql!`] does.
#[cfg(test)]
pub(crate) fn spelled(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, (name, code)| text.replace(name, code))
}

impl RequestState {
    /// The final states of a request.
    ///
    /// Invariant: each [`Status`] has a state in this list. A test checks the invariant, because the compiler cannot:
    /// `Status` may get more variants.
    const ENDED: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    pub(crate) fn ended(status: Status) -> Self {
        Self::ENDED.into_iter().find(|state| state.status() == Some(status)).unwrap_or(Self::Failed)
    }

    /// Returns how the request ended. `None`: the request waits or runs.
    pub(crate) fn status(self) -> Option<Status> {
        match self {
            Self::Queued | Self::Running => None,
            Self::Completed => Some(Status::Completed),
            Self::Failed => Some(Status::Failed),
            Self::Cancelled => Some(Status::Cancelled),
        }
    }
}

impl ReportState {
    /// Returns the state of a report after an attempt.
    pub(crate) fn after(next: Next) -> Self {
        match next {
            Next::RetryAt(_) => Self::Pending,
            Next::Delivered | Next::DeliveredLast => Self::Delivered,
            Next::Dead => Self::Dead,
            Next::Refused => Self::Refused,
            Next::Gone { .. } => Self::Gone,
        }
    }

    pub(crate) fn is_over(self) -> bool {
        match self {
            Self::Held | Self::Parked | Self::Pending | Self::Delivering => false,
            Self::Delivered | Self::Dead | Self::Refused | Self::Gone => true,
        }
    }

    /// Returns the state that the store shows to callers. The store shows a parked or held report as pending.
    pub(crate) fn shown(self) -> DeliveryState {
        match self {
            Self::Held | Self::Parked | Self::Pending => DeliveryState::Pending,
            Self::Delivering => DeliveryState::Delivering,
            Self::Delivered => DeliveryState::Delivered,
            Self::Dead => DeliveryState::Dead,
            Self::Refused => DeliveryState::Refused,
            Self::Gone => DeliveryState::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_a_state() {
        for status in Status::ALL {
            assert_eq!(RequestState::ended(status).status(), Some(status));
        }
    }

    #[test]
    fn states_are_spelled_as_numbers() {
        let sql = sql!("UPDATE report SET state = {held} ", "WHERE state = {delivering} OR state >= {first end}");
        assert_eq!(sql, "UPDATE report SET state = -2 WHERE state = 1 OR state >= 2");
    }
}

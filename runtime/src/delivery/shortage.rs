//! What this machine may run short of. It says nothing about a receiver, so it uses up no attempt.

use std::io;

use super::{connections, lookup};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    Lookups,
    Connections,
    Files,
    Memory,
}

impl Shortage {
    /// The label of the metric.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Lookups => "lookups",
            Self::Connections => "connections",
            Self::Files => "files",
            Self::Memory => "memory",
        }
    }

    /// Every try needs it: of look-ups, those to other names may go on.
    pub(super) fn is_all_of_us(self) -> bool {
        matches!(self, Self::Files | Self::Memory)
    }

    /// What an error of the system, or of what opens connections, tells. What it holds is looked at by the caller.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref();
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<lookup::Busy>) {
            return Some(Self::Lookups);
        }
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<connections::NoRoom>) {
            return Some(Self::Connections);
        }
        Self::of_code(error.raw_os_error()?)
    }

    #[cfg(unix)]
    fn of_code(code: i32) -> Option<Self> {
        // The same on all of Unix but the last, of which Linux has another than the others.
        const ENOMEM: i32 = 12;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 105 } else { 55 };
        match code {
            EMFILE | ENFILE => Some(Self::Files),
            ENOMEM | ENOBUFS => Some(Self::Memory),
            _ => None,
        }
    }

    #[cfg(not(unix))]
    fn of_code(code: i32) -> Option<Self> {
        const WSAEMFILE: i32 = 10_024;
        const WSAENOBUFS: i32 = 10_055;
        match code {
            WSAEMFILE => Some(Self::Files),
            WSAENOBUFS => Some(Self::Memory),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_runs_short_of_is_told_from_what_a_receiver_does() {
        let of = |code| Shortage::of(&io::Error::from_raw_os_error(code));
        #[cfg(target_os = "linux")]
        for (code, shortage) in [
            (24, Some(Shortage::Files)),
            (23, Some(Shortage::Files)),
            (12, Some(Shortage::Memory)),
            (105, Some(Shortage::Memory)),
            // Refused, unreachable, no such route, no local address for that network: the receiver's, or its name's.
            (111, None),
            (113, None),
            (101, None),
            (99, None),
        ] {
            assert_eq!(of(code), shortage, "{code}");
        }
        assert_eq!(of(0), None);
        assert_eq!(Shortage::of(&io::Error::other(lookup::Busy::All)), Some(Shortage::Lookups));
        assert_eq!(Shortage::of(&io::Error::other("the end")), None);
    }
}

//! What this machine may lack for an attempt. A shortage says nothing about the receiver, so it uses up no attempt.

use std::io;

use super::{connections, lookup};

/// A resource that this machine lacked for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// Too many host names are being looked up.
    Lookups,
    /// All connections that this process is allowed to open are in use.
    Connections,
    /// The process or the system cannot open any more files.
    Files,
    Memory,
}

impl Shortage {
    /// Returns the value of the metric's label `reason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Lookups => "lookups",
            Self::Connections => "connections",
            Self::Files => "files",
            Self::Memory => "memory",
        }
    }

    /// Whether every attempt would fail because of this shortage. If only look-ups or connections are lacking, attempts
    /// to other hosts may still succeed.
    pub(super) fn affects_all_attempts(self) -> bool {
        matches!(self, Self::Files | Self::Memory)
    }

    /// Returns the shortage that an I/O error describes. `None` if it describes no shortage. If the I/O error contains
    /// another I/O error, the caller has to check that error with a separate call.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref();
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<lookup::Busy>) {
            return Some(Self::Lookups);
        }
        if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<connections::NoFreeConnection>) {
            return Some(Self::Connections);
        }
        Self::of_code(error.raw_os_error()?)
    }

    #[cfg(unix)]
    fn of_code(code: i32) -> Option<Self> {
        // All Unix systems use the numbers below. Only ENOBUFS differs: it is 105 on Linux and Android, and 55 on the
        // others.
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
            // The error codes below mean: connection refused, host unreachable, network unreachable, address not
            // available. Their cause is the receiver or its name, and not a shortage of this machine.
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

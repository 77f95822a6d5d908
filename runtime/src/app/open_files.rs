//! The limit of open files: raised as far as the process may, and shared out.

use std::fmt;

/// Files that are neither connections nor deliveries: the database with its log for each of its connections, the lock, the
/// runtimes' own, standard streams, name servers, the files of certificates, and what handlers open.
const RESERVE: usize = 256;
/// A try has a connection; a second one may be in the making, or looks up a name, beside it.
const PER_TRY: usize = 2;
/// Fewer connections than these are no server: then the reserve has to give.
const LEAST_CONNECTIONS: usize = 32;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Open files at once; `None`: as many as there are.
    limit: Option<usize>,
    wanted: usize,
    tries: usize,
    pub(super) connections: usize,
}

/// Raises the soft limit to the hard one, and plans with what there is.
pub(super) fn plan(wanted: usize, tries: usize) -> Plan {
    Plan::of(raised(), wanted, tries)
}

impl Plan {
    fn of(limit: Option<usize>, wanted: usize, tries: usize) -> Self {
        let left = limit.map_or(wanted, |limit| limit.saturating_sub(RESERVE + PER_TRY * tries));
        Self { limit, wanted, tries, connections: left.clamp(LEAST_CONNECTIONS.min(wanted), wanted) }
    }

    /// What is to be said of it, if it is less than what was wanted.
    pub(super) fn trouble(&self) -> Option<Shortage> {
        (self.connections < self.wanted).then_some(Shortage(*self))
    }
}

/// Displays what the limit means, and what it should be.
pub(super) struct Shortage(Plan);

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { limit, wanted, tries, connections } = self.0;
        write!(
            f,
            "the limit of open files is {}: with {} for {tries} deliveries at once (delivery.concurrency) and {RESERVE} for the \
             store and all else, {connections} connections are accepted at once instead of {wanted}; raise the hard limit to {} \
             (ulimit -Hn, LimitNOFILE of systemd) to have all",
            limit.unwrap_or_default(),
            PER_TRY * tries,
            wanted + PER_TRY * tries + RESERVE,
        )
    }
}

#[cfg(unix)]
fn raised() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, ..found };
    if found.current != found.maximum {
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => {
                tracing::debug!("the limit of open files is raised from {:?} to {:?}", found.current, found.maximum);
            }
            // Some systems have a limit of their own below the hard one.
            Err(error) => tracing::debug!("the limit of open files cannot be raised: {error}"),
        }
    }
    getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn raised() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_what_deliveries_and_the_reserve_leave() {
        let plan = |limit| Plan::of(limit, 10_000, 256);
        for (limit, connections) in [(None, 10_000), (Some(20_000), 10_000), (Some(1_024), 256), (Some(64), 32)] {
            assert_eq!(plan(limit).connections, connections, "{limit:?}");
        }
        assert!(plan(Some(20_000)).trouble().is_none() && plan(None).trouble().is_none());
        let said = plan(Some(1_024)).trouble().unwrap().to_string();
        for number in ["1024", "256 connections", "10000", "10768"] {
            assert!(said.contains(number), "{said}");
        }
    }
}

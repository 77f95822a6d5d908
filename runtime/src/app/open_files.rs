//! The limit of open files: it is raised as far as possible, and shared between deliveries and connections of the API.

use std::fmt;

/// The number of open files that API connections and deliveries must not use. The rest of the process needs these
/// files: for the database and its WAL (once per database connection), the database's lock file, the tokio runtimes,
/// the standard streams, sockets to name servers, certificate files, and all files that handlers open.
const RESERVE: usize = 256;
/// The largest number of open files that one attempt to deliver a report needs. The connection of the attempt is one
/// open file. The other file is either a second connection that is being opened, or a socket for the lookup of a name.
const PER_ATTEMPT: usize = 2;
/// The smallest number of connections that the API may have, even if fewer than [`RESERVE`] files then remain for the
/// rest of the process.
const MIN_CONNECTIONS: usize = 32;

/// The plan that divides the limit of open files between API connections and deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The largest number of open files. `None` if there is no limit.
    limit: Option<usize>,
    /// The number of API connections that the settings ask for.
    wanted: usize,
    /// The largest number of attempts at the same time that the settings ask for.
    attempts: usize,
    /// The number of API connections that the limit of open files allows.
    pub(super) connections: usize,
}

/// Raises the soft limit of open files to the hard limit, and divides the new limit between API connections and
/// deliveries.
pub(super) fn plan(wanted: usize, attempts: usize) -> Plan {
    Plan::of(raised(), wanted, attempts)
}

impl Plan {
    fn of(limit: Option<usize>, wanted: usize, attempts: usize) -> Self {
        let left = limit.map_or(wanted, |limit| limit.saturating_sub(RESERVE + PER_ATTEMPT * attempts));
        Self { limit, wanted, attempts, connections: left.clamp(MIN_CONNECTIONS.min(wanted), wanted) }
    }

    /// Returns a warning for the operator if the limit allows fewer API connections than the settings ask for.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        (self.connections < self.wanted).then_some(Shortage(*self))
    }
}

/// A warning that the limit of open files is too low. The warning says how many connections the limit allows, and which
/// limit would be high enough.
pub(super) struct Shortage(Plan);

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { limit, wanted, attempts, connections } = self.0;
        write!(
            f,
            "the limit of open files is {}: {} of them are for {attempts} attempts at once (delivery.concurrency) and \
             {RESERVE} for the store and everything else, so that {connections} connections are accepted at once instead \
             of {wanted}; to accept all, raise the hard limit to {} (ulimit -Hn, LimitNOFILE of systemd)",
            limit.unwrap_or_default(),
            PER_ATTEMPT * attempts,
            wanted + PER_ATTEMPT * attempts + RESERVE,
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
                tracing::debug!("the limit of open files was raised from {:?} to {:?}", found.current, found.maximum);
            }
            // Some systems have another limit, which is lower than the hard limit. On these systems, the soft limit
            // cannot be raised to the hard limit.
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
        assert!(plan(Some(20_000)).shortage().is_none() && plan(None).shortage().is_none());
        let message = plan(Some(1_024)).shortage().unwrap().to_string();
        for number in ["1024", "256 connections", "10000", "10768"] {
            assert!(message.contains(number), "{message}");
        }
    }
}

//! The record of the changes that operators make: who, what and when.

use postback_store::Store;
use postback_wire::line::Escaped;
use postback_wire::time::Clock;

/// Who makes a call of the operator's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// A process of this user, through the Unix socket.
    #[cfg_attr(
        not(all(unix, feature = "sqlite")),
        expect(dead_code, reason = "only a database has a socket beside it")
    )]
    Socket { uid: u32 },
    /// Somebody who has `server.admin_token`.
    AdminToken,
    /// The signal SIGHUP.
    Signal,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket { uid } => write!(f, "socket uid {uid}"),
            Self::AdminToken => f.write_str("admin token"),
            Self::Signal => f.write_str("signal"),
        }
    }
}

/// Records changes. The only place that does.
pub(super) struct Audit {
    _store: Store,
    _clock: Clock,
}

impl Audit {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { _store: store, _clock: clock }
    }

    /// Records a change that was made. `what` names the change, such as `request.cancel`, and `of` names what was
    /// changed, such as an id or a URL without its secret parts.
    #[expect(clippy::unused_async, reason = "the record is going to be a row of the store")]
    pub(super) async fn record(&self, who: &Actor, what: &'static str, of: &str) {
        tracing::info!("operator: {what} {} by {who}", Escaped(of));
    }
}

//! The sessions of browsers that an operator has logged in. They are in memory alone, and end with the process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use postback_wire::time::Clock;

use super::secret::{Hash, NewSecret, Presented};

/// The name of the cookie.
const NAME: &str = "postback_session";
/// The folder to whose paths a browser sends the cookie.
const FOLDER: &str = "/_postback";
/// The longest time that a session lasts: a working day. After that, the operator logs in again.
const LIFETIME: Duration = Duration::from_hours(12);
/// The largest number of sessions. One more ends the oldest, so that a script that logs in again and again holds no
/// more memory than this.
const MAX_SESSIONS: usize = 64;

/// What a call says about its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// The call has no cookie of a session.
    None,
    /// The session has ended, or was never opened.
    Unknown,
    Open,
}

struct Opened {
    /// The secret of the cookie is not kept. Who reads the memory of the process later cannot take a session over.
    hash: Hash,
    at: Duration,
}

/// The open sessions. Clones share them.
#[derive(Clone)]
pub(crate) struct Sessions {
    clock: Clock,
    open: Arc<Mutex<VecDeque<Opened>>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(…)")
    }
}

impl Sessions {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, open: Arc::default() }
    }

    /// Opens a session. `is_secure`: the browser speaks https, so it must never send the cookie over http. Returns the header `set-cookie` for its browser, or `None` if the operating system has no random
    /// bytes.
    pub(crate) fn open(&self, is_secure: bool) -> Option<HeaderValue> {
        let secret = NewSecret::generate().ok()?;
        let cookie = HeaderValue::try_from(cookie(secret.reveal(), LIFETIME, is_secure)).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MAX_SESSIONS {
            open.pop_front();
        }
        open.push_back(Opened { hash: secret.hash(), at: self.clock.elapsed() });
        Some(cookie)
    }

    /// Finds out whether a call belongs to an open session.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Session {
        let now = self.clock.elapsed();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| now.saturating_sub(session.at) < LIFETIME);
        let mut found = Session::None;
        for hash in presented(headers) {
            if open.iter().any(|session| session.hash == hash) {
                return Session::Open;
            }
            found = Session::Unknown;
        }
        found
    }

    /// Ends the session of a call. Returns the header `set-cookie` that makes the browser forget it.
    pub(crate) fn close(&self, headers: &HeaderMap, is_secure: bool) -> Option<HeaderValue> {
        let closed: Vec<Hash> = presented(headers).collect();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| !closed.contains(&session.hash));
        HeaderValue::try_from(cookie("", Duration::ZERO, is_secure)).ok()
    }

    /// Ends all sessions, because the token by which they were opened is valid no more.
    pub(crate) fn close_all(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes the text of a cookie that scripts cannot read, and that no page of another site makes a browser send.
fn cookie(value: &str, lifetime: Duration, is_secure: bool) -> String {
    let seconds = lifetime.as_secs();
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{NAME}={value}; Path={FOLDER}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Returns the hashes of the sessions that a call names. A browser sends one; more are looked at only up to a bound.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = Hash> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| *name == NAME)
        .take(4)
        .filter_map(|(_, value)| Presented::parse(value).ok())
        .map(Presented::hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &HeaderValue) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, format!("theme=dark; {pair}").parse().unwrap())])
    }

    #[test]
    fn a_session_is_open_until_it_is_closed() {
        let sessions = Sessions::new(Clock::system());
        let (first, second) = (sessions.open(false).unwrap(), sessions.open(true).unwrap());
        let attributes = "; Path=/_postback; Max-Age=43200; HttpOnly; SameSite=Strict";
        assert!(first.to_str().unwrap().ends_with(attributes), "{first:?}");
        assert!(second.to_str().unwrap().ends_with("; SameSite=Strict; Secure"), "{second:?}");
        assert_eq!((sessions.of(&sent(&first)), sessions.of(&sent(&second))), (Session::Open, Session::Open));
        assert!(
            sessions.close(&sent(&first), false).unwrap().to_str().unwrap().contains("=; Path=/_postback; Max-Age=0")
        );
        assert_eq!((sessions.of(&sent(&first)), sessions.of(&sent(&second))), (Session::Unknown, Session::Open));
        sessions.close_all();
        assert_eq!(sessions.of(&sent(&second)), Session::Unknown);
        assert_eq!(sessions.of(&HeaderMap::new()), Session::None);
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::new(Clock::system());
        let first = sessions.open(false).unwrap();
        let others: Vec<_> = (0..MAX_SESSIONS).map(|_| sessions.open(false).unwrap()).collect();
        assert_eq!(sessions.of(&sent(&first)), Session::Unknown);
        assert!(others.iter().all(|cookie| sessions.of(&sent(cookie)) == Session::Open));
    }
}

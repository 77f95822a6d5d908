//! Name resolution with its own limits, so that dead name servers delay only the names that need them.
//!
//! If a name is being looked up already, a second caller waits for the same answer. So one dead name uses one thread,
//! even if many reports go to this name. Answers are not kept: the name is looked up again for each new connection.
//!
//! Callers may choose any name. So only a few names below one domain may be looked up at the same time, unless they
//! were answered before. Names that were answered before have threads of their own, so they are looked up even if many
//! other names hang. If no thread becomes free in time, the look-up fails with [`Busy`]. This error says nothing about
//! the name.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

/// The largest number of look-ups at the same time. Each look-up uses one thread.
const CONCURRENCY: usize = 64;
/// The largest number of slow look-ups that do not count against [`CONCURRENCY`]. A look-up is slow if it takes longer
/// than [`SLOW_AFTER`]. If the name servers are dead, a look-up uses its thread for half a minute and cannot be
/// interrupted. The sum of [`CONCURRENCY`], `STUCK` and [`FOR_KNOWN`] is smaller than the number of threads that the
/// runtime may start.
const STUCK: usize = 192;
/// The number of additional look-ups at the same time that are reserved for known names. A known name is a name that
/// was looked up successfully before.
const FOR_KNOWN: usize = 32;
/// The largest number of known names that are remembered. If there are more, the oldest name is forgotten.
const KNOWN: usize = 4_096;
/// The largest number of look-ups at the same time below one domain, for names that were never looked up successfully.
const PER_DOMAIN: usize = 16;
/// A look-up that takes longer than this is slow, and counts against [`STUCK`].
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// How long a look-up waits for a free thread. This time is shorter than the time that the caller waits for the
/// look-up. So the caller can distinguish a name that was not looked up from a name for which no answer came.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);
/// The largest number of names that are being looked up or wait for their look-up.
const PENDING: usize = 2_048;

/// Too many other names are being looked up, so this name was not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    #[error("{PENDING} other names are being looked up")]
    All,
    #[error("{PER_DOMAIN} other names below its domain are being looked up")]
    Domain,
    #[error("no look-up of another name has ended for {} s", WAIT_FOR_ROOM.as_secs())]
    Room,
}

/// A resolver: turns a host name into addresses.
pub(crate) trait Lookup: fmt::Debug + Send + Sync {
    fn lookup(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// The operating system's resolver.
#[derive(Clone)]
pub(crate) struct System {
    ask: Arc<Resolve>,
    slow_after: Duration,
    room: Arc<Semaphore>,
    room_for_stuck: Arc<Semaphore>,
    room_for_known: Arc<Semaphore>,
    names: Arc<Mutex<Names>>,
}

/// The names that are being looked up, and the known names, which were looked up successfully before.
#[derive(Default)]
struct Names {
    pending: HashMap<String, Answer>,
    /// For each domain, the number of names below it that are being looked up and were never looked up successfully.
    domains: HashMap<String, usize>,
    known: HashSet<String>,
    /// The known names in the order of their first successful look-up.
    order: VecDeque<String>,
}

type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Answer = Shared<BoxFuture<'static, Result<Vec<IpAddr>, Arc<io::Error>>>>;

impl Default for System {
    fn default() -> Self {
        Self::with_resolver(SLOW_AFTER, |host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }
}

impl System {
    fn with_resolver(
        slow_after: Duration,
        ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ask: Arc::new(ask),
            slow_after,
            room: Arc::new(Semaphore::new(CONCURRENCY)),
            room_for_stuck: Arc::new(Semaphore::new(STUCK)),
            room_for_known: Arc::new(Semaphore::new(FOR_KNOWN)),
            names: Arc::default(),
        }
    }

    /// Returns the answer for a name. If the name is already being looked up, the caller gets the answer of that
    /// look-up.
    fn answer(&self, host: &str) -> io::Result<Answer> {
        let mut names = self.lock();
        if let Some(answer) = names.pending.get(host) {
            return Ok(answer.clone());
        }
        let known = names.known.contains(host);
        if !known {
            names.make_room(host).map_err(io::Error::other)?;
        }
        let (this, name) = (self.clone(), host.to_owned());
        #[expect(clippy::disallowed_methods, reason = "the system's resolver ends by itself, and nobody stops for it")]
        let asked = tokio::spawn(async move {
            let answer = this.ask(&name, known).await;
            // The name is removed before the callers get the answer, so that a later caller starts a new look-up.
            this.lock().answered(&name, known, answer.is_ok());
            answer
        });
        let answer = async { asked.await.map_err(io::Error::other).and_then(|answer| answer).map_err(Arc::new) };
        let answer = answer.boxed().shared();
        names.pending.insert(host.to_owned(), answer.clone());
        Ok(answer)
    }

    /// Looks up the name. The look-up continues even if all callers have stopped waiting, because its thread cannot be
    /// interrupted.
    async fn ask(&self, host: &str, known: bool) -> io::Result<Vec<IpAddr>> {
        let permit = tokio::select! {
            biased;
            permit = self.room_for_known.clone().acquire_owned(), if known => permit,
            permit = self.room.clone().acquire_owned() => permit,
            () = tokio::time::sleep(WAIT_FOR_ROOM) => return Err(io::Error::other(Busy::Room)),
        };
        let permit = permit.map_err(io::Error::other)?;
        let (ask, host) = (self.ask.clone(), host.to_owned());
        let mut asked = tokio::task::spawn_blocking(move || ask(&host));
        if let Ok(answer) = tokio::time::timeout(self.slow_after, &mut asked).await {
            return answer.map_err(io::Error::other)?;
        }
        // If possible, a slow look-up takes a permit for slow look-ups and frees its first permit. Otherwise the
        // look-up keeps its first permit.
        let permit = self.room_for_stuck.clone().try_acquire_owned().unwrap_or(permit);
        let answer = asked.await;
        drop(permit);
        answer.map_err(io::Error::other)?
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Adds the look-up of `host` to the number of pending look-ups of its domain. Must be called only for a host name
    /// that was never looked up successfully. Fails if too many look-ups are pending.
    fn make_room(&mut self, host: &str) -> Result<(), Busy> {
        if self.pending.len() >= PENDING {
            return Err(Busy::All);
        }
        let domain = domain_of(host);
        match self.domains.get_mut(domain) {
            Some(looked_up) if *looked_up >= PER_DOMAIN => return Err(Busy::Domain),
            Some(looked_up) => *looked_up += 1,
            None => drop(self.domains.insert(domain.to_owned(), 1)),
        }
        Ok(())
    }

    fn answered(&mut self, host: &str, known: bool, well: bool) {
        self.pending.remove(host);
        if known {
            return;
        }
        let domain = domain_of(host);
        if let Some(looked_up) = self.domains.get_mut(domain) {
            *looked_up -= 1;
            if *looked_up == 0 {
                self.domains.remove(domain);
            }
        }
        if well && self.known.insert(host.to_owned()) {
            self.order.push_back(host.to_owned());
            if self.order.len() > KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}

/// Returns the last two labels of a name. All names that end with these two labels usually have the same owner.
fn domain_of(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rmatch_indices('.').nth(1).map_or(host, |(dot, _)| &host[dot + 1..])
}

impl Lookup for System {
    fn lookup(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let answer = self.answer(host);
        Box::pin(async move {
            // A new error is made, because all callers share the original error and it cannot be moved. The new error
            // keeps the inner error and the error code.
            answer?.await.map_err(|error| {
                let busy = error.get_ref().and_then(|inner| inner.downcast_ref::<Busy>()).copied();
                match (busy, error.raw_os_error()) {
                    (Some(busy), _) => io::Error::other(busy),
                    (None, Some(code)) => io::Error::from_raw_os_error(code),
                    (None, None) => io::Error::new(error.kind(), error),
                }
            })
        })
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;

    use futures_util::future::join_all;

    use super::*;

    const FOUND: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14));

    /// Returns a resolver for tests. The resolver does not answer names that begin with "dead" while the returned
    /// sender lives. The returned counter counts the look-ups of these names.
    fn system() -> (System, std::sync::mpsc::SyncSender<()>, Arc<AtomicUsize>) {
        let (alive, dead) = sync_channel::<()>(0);
        let (dead, asked) = (Mutex::new(dead), Arc::<AtomicUsize>::default());
        let count = asked.clone();
        let system = System::with_resolver(Duration::from_millis(1), move |host| {
            if host.starts_with("dead") {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = dead.lock().unwrap().recv();
            }
            Ok(vec![FOUND])
        });
        (system, alive, asked)
    }

    #[tokio::test]
    async fn the_system_resolves_localhost() {
        assert!(System::default().lookup("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn one_dead_name_is_asked_for_once_however_many_want_it() {
        let (system, alive, asked) = system();
        let waiting = join_all((0..1_000).map(|_| system.lookup("dead.example.com")));
        assert_eq!(system.lookup("hooks.example.com").await.unwrap(), [FOUND]);
        drop(alive);
        assert!(waiting.await.into_iter().all(|answer| answer.unwrap() == [FOUND]));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(system.lock().pending.is_empty(), "nothing is kept");
        system.lookup("dead.example.com").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn many_dead_names_hold_up_no_other() {
        let (system, alive, _) = system();
        let dead: Vec<_> =
            (0..CONCURRENCY + STUCK - 1).map(|n| system.lookup(&format!("dead.example{n}.com"))).collect();
        assert_eq!(system.lookup("hooks.example.com").await.unwrap(), [FOUND]);
        drop((alive, dead));
    }

    #[tokio::test]
    async fn an_error_is_told_to_all() {
        let system =
            System::with_resolver(SLOW_AFTER, |_| Err(io::Error::new(io::ErrorKind::NotFound, "no such name")));
        for answer in join_all([system.lookup("a"), system.lookup("a")]).await {
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "no such name"));
        }
    }

    #[tokio::test]
    async fn names_that_wait_are_bounded() {
        let (system, alive, _) = system();
        let mut dead: Vec<_> = (0..PENDING).map(|n| system.lookup(&format!("dead.example{n}.com"))).collect();
        let error = system.lookup("one.more").await.unwrap_err();
        assert!(error.to_string().contains("2048 other names"));
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Busy::All));
        // The last name got no free thread in time. So its look-up fails with [`Busy`], and the name was not looked up.
        let error = dead.pop().unwrap().await.unwrap_err();
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Busy::Room));
        drop((alive, dead));
    }

    #[tokio::test]
    async fn names_that_were_answered_are_looked_up_however_many_others_hang() {
        let (system, alive, _) = system();
        system.lookup("hooks.example.com").await.unwrap();
        // The largest allowed number of names is pending. Some of the names are being looked up on all threads, and the
        // other names wait for a thread.
        let dead: Vec<_> = (0..PENDING).map(|n| system.lookup(&format!("dead.example{n}.com"))).collect();
        for _ in 0..3 {
            assert_eq!(system.lookup("hooks.example.com").await.unwrap(), [FOUND]);
        }
        drop((alive, dead));
    }

    #[tokio::test]
    async fn names_below_one_domain_take_up_little_of_the_room() {
        let (system, alive, asked) = system();
        let dead: Vec<_> = (0..300).map(|n| system.lookup(&format!("dead{n}.evil.example."))).collect();
        assert_eq!(system.lookup("hooks.example.com").await.unwrap(), [FOUND]);
        let error = system.lookup("dead.and.more.evil.example").await.unwrap_err();
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Busy::Domain));
        assert!(asked.load(Ordering::SeqCst) <= PER_DOMAIN);
        drop(alive);
        join_all(dead).await;
        assert!(system.lock().domains.is_empty(), "nothing is left of them");
        system.lookup("more.evil.example").await.unwrap();
    }

    #[test]
    fn a_domain_is_the_last_two_labels() {
        for (host, domain) in [
            ("hooks.example.com", "example.com"),
            ("example.com", "example.com"),
            ("a.b.c.example.com.", "example.com"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(domain_of(host), domain);
        }
    }

    #[test]
    fn names_that_are_known_are_bounded() {
        let mut names = Names::default();
        for n in 0..2 * KNOWN {
            names.make_room(&n.to_string()).unwrap();
            names.answered(&n.to_string(), false, true);
        }
        assert_eq!((names.known.len(), names.order.len(), names.domains.len()), (KNOWN, KNOWN, 0));
    }
}

//! Name resolution under limits of its own, so that dead name servers hold up nobody but those who need them.
//!
//! Who asks for a name that is being looked up already waits for that answer: one dead name has one thread, however
//! many reports go there. An answer is not kept: each connection is to an address that was asked for when it was opened.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

/// Look-ups at once. Each holds a thread.
const CONCURRENCY: usize = 64;
/// Look-ups besides those which have taken longer than [`PATIENCE`]: the system's resolver keeps its thread for half a
/// minute if the name servers are dead, and cannot be interrupted. Together they are fewer than the threads that there may be.
const STUCK: usize = 192;
const PATIENCE: Duration = Duration::from_secs(1);
/// Names that are being looked up or wait for it.
const PENDING: usize = 2_048;

/// Turns a name into addresses.
pub(crate) trait Lookup: fmt::Debug + Send + Sync {
    fn lookup(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// The operating system's resolver.
#[derive(Clone)]
pub(crate) struct System {
    ask: Arc<Ask>,
    patience: Duration,
    room: Arc<Semaphore>,
    room_for_stuck: Arc<Semaphore>,
    pending: Arc<Mutex<HashMap<String, Answer>>>,
}

type Ask = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Answer = Shared<BoxFuture<'static, Result<Vec<IpAddr>, Arc<io::Error>>>>;

impl Default for System {
    fn default() -> Self {
        Self::asking(PATIENCE, |host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }
}

impl System {
    fn asking(patience: Duration, ask: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self {
            ask: Arc::new(ask),
            patience,
            room: Arc::new(Semaphore::new(CONCURRENCY)),
            room_for_stuck: Arc::new(Semaphore::new(STUCK)),
            pending: Arc::default(),
        }
    }

    /// The answer that is on its way, or a new one.
    fn answer(&self, host: &str) -> io::Result<Answer> {
        let mut pending = self.lock();
        if let Some(answer) = pending.get(host) {
            return Ok(answer.clone());
        }
        if pending.len() >= PENDING {
            return Err(io::Error::other(format!("{PENDING} other names are being looked up")));
        }
        let (this, name) = (self.clone(), host.to_owned());
        #[expect(clippy::disallowed_methods, reason = "the system's resolver ends by itself, and nobody stops for it")]
        let asked = tokio::spawn(async move {
            let answer = this.ask(&name).await;
            // Before the answer is out: who asks then gets a new one.
            this.lock().remove(&name);
            answer
        });
        let answer = async { asked.await.map_err(io::Error::other).and_then(|answer| answer).map_err(Arc::new) };
        let answer = answer.boxed().shared();
        pending.insert(host.to_owned(), answer.clone());
        Ok(answer)
    }

    /// Asks even if nobody waits any more: the thread cannot be had back before.
    async fn ask(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (ask, host) = (self.ask.clone(), host.to_owned());
        let mut asked = tokio::task::spawn_blocking(move || ask(&host));
        if let Ok(answer) = tokio::time::timeout(self.patience, &mut asked).await {
            return answer.map_err(io::Error::other)?;
        }
        // Either makes room for others, or keeps its own.
        let permit = self.room_for_stuck.clone().try_acquire_owned().unwrap_or(permit);
        let answer = asked.await;
        drop(permit);
        answer.map_err(io::Error::other)?
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup for System {
    fn lookup(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let answer = self.answer(host);
        Box::pin(async move { answer?.await.map_err(|error| io::Error::new(error.kind(), error)) })
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

    /// Names that begin with "dead" are not answered while the sender lives; how often these were asked for.
    fn system() -> (System, std::sync::mpsc::SyncSender<()>, Arc<AtomicUsize>) {
        let (alive, dead) = sync_channel::<()>(0);
        let (dead, asked) = (Mutex::new(dead), Arc::<AtomicUsize>::default());
        let count = asked.clone();
        let system = System::asking(Duration::from_millis(1), move |host| {
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
        assert!(system.lock().is_empty(), "nothing is kept");
        system.lookup("dead.example.com").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn many_dead_names_hold_up_no_other() {
        let (system, alive, _) = system();
        let dead: Vec<_> =
            (0..CONCURRENCY + STUCK - 1).map(|n| system.lookup(&format!("dead{n}.example.com"))).collect();
        assert_eq!(system.lookup("hooks.example.com").await.unwrap(), [FOUND]);
        drop((alive, dead));
    }

    #[tokio::test]
    async fn an_error_is_told_to_all() {
        let system = System::asking(PATIENCE, |_| Err(io::Error::new(io::ErrorKind::NotFound, "no such name")));
        for answer in join_all([system.lookup("a"), system.lookup("a")]).await {
            let error = answer.unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::NotFound, "no such name"));
        }
    }

    #[tokio::test]
    async fn names_that_wait_are_bounded() {
        let (system, alive, _) = system();
        let dead: Vec<_> = (0..PENDING).map(|n| system.lookup(&format!("dead{n}.example.com"))).collect();
        assert!(system.lookup("one.more").await.unwrap_err().to_string().contains("2048 other names"));
        drop((alive, dead));
    }
}

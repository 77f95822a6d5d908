//! The resolver of the HTTP clients. It lets the guard check every address when a connection is opened.
//!
//! Invariant: a connection is opened only to an address that the guard has allowed in the same look-up. So a name that
//! resolves to another address at its second look-up cannot bypass the guard (DNS rebinding).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::lookup::Lookup;
use super::own_addresses;
use crate::policy::guard::{Guard, Reach, Refusal};

/// The longest time that a look-up may take, including the wait for a free thread.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest number of addresses of one host name to which the client tries to connect, one after another. All these
/// addresses share one time limit for connecting.
const MOST_ADDRESSES: usize = 16;

/// Looks up a host name for an HTTP client. The field `guard` then decides to which of the addresses the client is
/// allowed to connect.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) guard: Guard,
    pub(super) reach: Reach,
    /// The addresses of this server, if the client must not connect to them. Otherwise empty.
    pub(super) own_addresses: Arc<[IpAddr]>,
}

/// Why a host name has no address that the client is allowed to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot resolve {host}")]
    Unresolved {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot resolve {host}: it has no address")]
    Nothing { host: String },
    #[error("cannot resolve {host} within {} s", TIMEOUT.as_secs())]
    TooSlow { host: String },
    #[error(transparent)]
    Refused(Refusal),
}

impl Service<Name> for Dial {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (guard, reach, own_addresses) = (self.guard.clone(), self.reach, self.own_addresses.clone());
        let asked = self.lookup.lookup(name.as_str());
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let addresses = match tokio::time::timeout(TIMEOUT, asked).await {
                Ok(Ok(addresses)) if addresses.is_empty() => return Err(Error::Nothing { host }),
                Ok(Ok(addresses)) => addresses,
                Ok(Err(source)) => return Err(Error::Unresolved { host, source }),
                Err(_) => return Err(Error::TooSlow { host }),
            };
            guard.check_addresses(&addresses, reach).map_err(Error::Refused)?;
            own_addresses::check(&addresses, &own_addresses).map_err(Error::Refused)?;
            // Port 0 is a placeholder. The client replaces it with the port of the URL.
            let dialled = addresses.into_iter().take(MOST_ADDRESSES).map(|address| SocketAddr::new(address, 0));
            Ok(dialled.collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A resolver that answers each look-up with the next list of addresses. The number counts the look-ups.
    #[derive(Debug)]
    struct Script(Vec<Vec<&'static str>>, AtomicUsize);

    impl Lookup for Script {
        fn lookup(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
            let answer = self.0[self.1.fetch_add(1, Ordering::SeqCst)].iter().map(|ip| ip.parse().unwrap()).collect();
            Box::pin(async move { Ok(answer) })
        }
    }

    #[derive(Debug)]
    struct Never;

    impl Lookup for Never {
        fn lookup(&self, _: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
            Box::pin(std::future::pending())
        }
    }

    fn dial(lookup: impl Lookup + 'static, reach: Reach) -> Dial {
        Dial { lookup: Arc::new(lookup), guard: Guard::default(), reach, own_addresses: [].into() }
    }

    async fn ask(dial: &Dial) -> Result<Vec<SocketAddr>, String> {
        let answer = dial.clone().call("hooks.example.com".parse().unwrap()).await;
        answer.map(Iterator::collect).map_err(|error| error.to_string())
    }

    fn script(answers: &[&[&'static str]]) -> Script {
        Script(answers.iter().map(|answer| answer.to_vec()).collect(), AtomicUsize::new(0))
    }

    #[tokio::test]
    async fn a_name_that_resolves_differently_the_second_time_gains_nothing() {
        let dial = dial(script(&[&["93.184.215.14"], &["127.0.0.1"]]), Reach::Public);
        assert_eq!(ask(&dial).await.unwrap(), ["93.184.215.14:0".parse().unwrap()]);
        assert!(ask(&dial).await.unwrap_err().contains("127.0.0.1"));
    }

    #[tokio::test]
    async fn a_mixed_answer_is_refused_as_a_whole() {
        let strict = dial(script(&[&["93.184.215.14", "::ffff:10.0.0.1"]]), Reach::Public);
        assert!(ask(&strict).await.unwrap_err().contains("::ffff:10.0.0.1"));
        let trusted = dial(script(&[&["10.0.0.1", "127.0.0.1"], &["10.0.0.1", "169.254.169.254"]]), Reach::Private);
        assert_eq!(ask(&trusted).await.unwrap().len(), 2);
        assert!(ask(&trusted).await.unwrap_err().contains("169.254.169.254"));
    }

    #[tokio::test]
    async fn of_many_addresses_all_are_judged_and_some_are_dialled() {
        let many = vec!["93.184.215.14"; 1_000];
        let bad_last = [many.as_slice(), &["127.0.0.1"]].concat();
        let dial = dial(script(&[&many, &bad_last, &[]]), Reach::Public);
        assert_eq!(ask(&dial).await.unwrap().len(), MOST_ADDRESSES);
        ask(&dial).await.unwrap_err();
        assert_eq!(ask(&dial).await.unwrap_err(), "cannot resolve hooks.example.com: it has no address");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_never_answers_costs_limited_time() {
        let told = ask(&dial(Never, Reach::Public)).await.unwrap_err();
        assert_eq!(told, "cannot resolve hooks.example.com within 5 s");
    }
}

//! A receiver of webhooks for this machine only. It keeps the last webhooks, shows them on a page and in the terminal,
//! and checks their signatures. A person can choose how it answers.
//!
//! The parts meet in [`Shared`]: `receive` adds to the history, and the feed of the page reads from it.

mod behaviour;
mod connection;
mod feed;
mod filter;
mod history;
mod hit;
mod page;
mod receive;
mod send;
mod show;
mod signature;
#[cfg(test)]
mod testing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use url::Url;

use self::behaviour::Behaviours;
pub(crate) use self::filter::Filter;
use self::history::{History, MAX_BYTES, MAX_HITS};
use self::hit::{Answered, Hit};
use self::send::Sender;
pub(crate) use self::send::target;
pub(crate) use self::signature::Key;
use crate::delivery;
use crate::pages::{self, Files};
use postback_store::shutdown::Shutdown;
use postback_wire::time::Clock;

/// The largest number of webhooks that are read at the same time. Further webhooks wait.
const AT_ONCE: usize = 4;
/// The largest number of webhooks that are left without an answer, or answered slowly, at the same time.
const MAX_HELD: usize = 64;

/// The inspector. It listens from the start, but answers only after [`run`](Self::run) was called.
pub(crate) struct Inspector {
    listener: TcpListener,
    address: SocketAddr,
}

/// What the terminal gets for each webhook.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// The webhook with the begin of its body.
    Whole,
    /// One line.
    Compact,
    /// One line of JSON.
    Json,
}

/// How the inspector works.
pub(crate) struct Options {
    /// Prints a text, which has ANSI escapes for colours.
    pub(crate) print: fn(&str),
    pub(crate) format: Format,
    /// The keys with which signatures are checked.
    pub(crate) keys: Vec<Key>,
    /// Where webhooks are passed on to.
    pub(crate) forward: Option<Url>,
    /// The inspector stops after the first webhook for which this filter holds.
    pub(crate) wait: Option<Filter>,
}

/// The reason why the inspector cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the inspector listens on loopback addresses only, and {0} is not one; use 127.0.0.1:4000")]
    NotLoopback(SocketAddr),
    #[error(
        "the inspector cannot listen on {address}; if another program uses the port, choose another, such as 127.0.0.1:4001"
    )]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the inspector cannot use TLS")]
    Tls(#[source] delivery::Error),
}

/// What the parts of a running inspector share.
struct Shared {
    /// A random text that names this run in the ids of events.
    run: String,
    port: u16,
    clock: Clock,
    history: History,
    behaviours: Behaviours,
    files: Files,
    keys: Vec<Key>,
    sender: Sender,
    forward: Option<Url>,
    print: fn(&str),
    format: Format,
    wait: Option<Filter>,
    found: AtomicBool,
    reading: Semaphore,
    held: Arc<Semaphore>,
    feeds: Arc<Semaphore>,
    sending: Semaphore,
    stop: Shutdown,
}

impl Inspector {
    pub(crate) async fn listen(address: SocketAddr) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        let fault = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address })
    }

    /// Returns the URL at which the inspector receives webhooks. In a browser, it shows the page.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Receives webhooks until `stop` signals the end. Returns whether the webhook of [`Options::wait`] has come.
    pub(crate) async fn run(self, options: Options, stop: Shutdown) -> Result<bool, Error> {
        let Options { print, format, keys, forward, wait } = options;
        let clock = Clock::system();
        let shared = Arc::new(Shared {
            run: format!("{:016x}", rand::random::<u64>()),
            port: self.address.port(),
            sender: Sender::new(clock.clone()).map_err(Error::Tls)?,
            clock,
            history: History::new(MAX_HITS, MAX_BYTES),
            behaviours: Behaviours::default(),
            files: Files::new(&[pages::SHARED, page::FILES]),
            keys,
            forward,
            print,
            format,
            wait,
            found: AtomicBool::new(false),
            reading: Semaphore::new(AT_ONCE),
            held: Arc::new(Semaphore::new(MAX_HELD)),
            feeds: Arc::new(Semaphore::new(feed::MAX_FEEDS)),
            sending: Semaphore::new(1),
            stop: stop.clone(),
        });
        let router = page::router(shared.clone()).merge(Router::new().fallback(receive::receive));
        let router = router.layer(DefaultBodyLimit::disable()).with_state(shared.clone());
        connection::serve(self.listener, router, stop).await;
        Ok(shared.found.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Tells the terminal about a webhook that was answered.
    fn tell(&self, hit: &Hit, answer: &Answered) {
        let text = match self.format {
            Format::Whole => show::webhook(hit),
            Format::Compact => show::line::compact(hit, answer),
            Format::Json => show::line::json(hit, answer),
        };
        (self.print)(&text);
        if self.wait.as_ref().is_some_and(|wait| wait.holds(hit, Some(answer))) {
            self.found.store(true, Ordering::Relaxed);
            self.stop.stop();
        }
    }
}

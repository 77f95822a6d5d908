//! The command `bench`: a load of one's own against a running server, and what it measured.

mod latency;
mod load;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::{Host, Url};

use self::latency::Latency;
use self::load::{Load, Measured};
use super::Common;
use super::progress::Progress;
use super::run::read_file;
use crate::settings::Settings;
use postback_store::shutdown::Shutdown;
use postback_wire::line::Escaped;

/// The number of requests if neither a number nor a duration is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const MAX_DURATION: Duration = Duration::from_hours(1);
/// The time between two looks at how far the load has come.
const LOOK: Duration = Duration::from_millis(200);
const MAX_COUNT: u64 = 10_000_000;
const ABOUT: &str =
    "Each connection submits a request, waits until it has ended, and begins again. The requests are real: their
handlers run, and their reports are sent. The exit code is 1 if a call failed or a request did not complete.";

/// The arguments of `bench`.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Bench {
    /// The path of the route, such as /greet
    route: String,
    /// Read the payload from this file, or from standard input if it is `-`; empty, if left out
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The number of connections that submit at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// Stop after this time, such as 30s; 10s if --count is left out
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Stop after this number of requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_COUNT))]
    count: Option<u64>,
    /// Do not wait until the requests have ended
    #[arg(long)]
    no_wait: bool,
    /// The server, such as http://127.0.0.1:8080; the address in server.listen, if left out
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Allow a server that is not on this machine
    #[arg(long)]
    remote: bool,
    /// Read the token of a caller from this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time > MAX_DURATION { Err("a load lasts an hour at most".to_owned()) } else { Ok(time) }
}

impl Bench {
    /// Runs the load until it is over, or until `interrupted`. Returns the text to print, and whether all went well.
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        interrupted: impl Future<Output = ()>,
    ) -> Result<(String, bool), String> {
        let load = Arc::new(self.load(settings)?);
        let (stop, begun) = (Shutdown::new(), Instant::now());
        let all: Vec<_> =
            (0..self.concurrency).map(|_| stop.spawn(load::run(Arc::clone(&load), stop.clone()))).collect();
        let mut collecting = std::pin::pin!(async {
            let mut measured = Measured::default();
            for one in all {
                if let Ok(one) = one.await {
                    measured.merge(one);
                }
            }
            measured
        });
        let measured = tokio::select! {
            measured = collecting.as_mut() => measured,
            () = interrupted => {
                stop.stop();
                collecting.await
            }
            () = self.show_progress(&load, begun) => Measured::default(),
        };
        let took = begun.elapsed();
        let is_fine = measured.errors.is_empty() && measured.submit.count() > 0;
        let text = if self.json { super::remote::json(&as_json(&measured, took))? } else { lines(&measured, took) };
        Ok((text, is_fine))
    }

    /// Shows how far the load has come, and never ends.
    async fn show_progress(&self, load: &Load, begun: Instant) {
        let time = load.until.saturating_duration_since(begun);
        let by_count = self.count.filter(|_| self.duration.is_none());
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut progress = Progress::begin(Some(by_count.unwrap_or_else(|| milliseconds(time))), self.json);
        loop {
            tokio::time::sleep(LOOK).await;
            let begun_calls = self.count.unwrap_or(MAX_COUNT).saturating_sub(load.left.load(Ordering::Relaxed));
            let done = if by_count.is_some() { begun_calls } else { milliseconds(begun.elapsed().min(time)) };
            progress.at(done, &format!("{begun_calls} requests"));
        }
    }

    fn load(&self, settings: &Settings) -> Result<Load, String> {
        let url = self.url.clone().unwrap_or_else(|| format!("http://{}", settings.server.listen));
        let url = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
        let url = url.ok_or("the URL of a server looks like http://127.0.0.1:8080")?;
        if !self.remote && !is_here(&url) {
            let shown = Escaped(url.host_str().unwrap_or_default()).to_string();
            return Err(format!(
                "{shown} is not on this machine, and a load may harm a server that others use; if it is yours, add --remote"
            ));
        }
        if !self.route.starts_with('/') || self.route.contains(['?', '#', ' ']) {
            return Err(format!("`{}` is not the path of a route, such as /greet", Escaped(&self.route)));
        }
        let token = self.token_file.as_deref().map(token).transpose()?;
        let body = read_file(self.input.as_deref(), settings.server.max_payload)?;
        let time = match (self.duration, self.count) {
            (Some(time), _) => time,
            (None, Some(_)) => MAX_DURATION,
            (None, None) => DEFAULT_DURATION,
        };
        Ok(Load {
            url,
            route: self.route.clone(),
            token,
            ca_file: settings.delivery.ca_file.clone(),
            body: body.into(),
            to_the_end: !self.no_wait,
            until: Instant::now() + time,
            left: AtomicU64::new(self.count.unwrap_or(MAX_COUNT)),
        })
    }
}

/// Whether the URL names this machine. Another name may lead here, too, but that is known only after a look-up.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn token(path: &std::path::Path) -> Result<HeaderValue, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| format!("{shown} does not hold a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn rate(count: u64, took: Duration) -> f64 {
    (count as f64 / took.as_secs_f64().max(0.001) * 10.0).round() / 10.0
}

fn as_json(measured: &Measured, took: Duration) -> Value {
    let latency = |latency: &Latency| {
        json!({
            "count": latency.count(), "per_second": rate(latency.count(), took), "p50_ms": millis(latency.percentile(50)),
            "p90_ms": millis(latency.percentile(90)), "p99_ms": millis(latency.percentile(99)),
            "max_ms": millis(latency.max()),
        })
    };
    json!({
        "seconds": took.as_secs_f64(), "submit": latency(&measured.submit), "end": latency(&measured.end),
        "errors": measured.errors,
    })
}

fn lines(measured: &Measured, took: Duration) -> String {
    let mut text = format!("{:8} {:>9} {:>9}", "", "requests", "per s");
    // The results of `write!` are ignored, because writing to a `String` cannot fail.
    for name in ["p50", "p90", "p99", "max"] {
        let _ = write!(text, " {:>11}", format!("{name} ms"));
    }
    text.push('\n');
    for (name, latency) in [("submit", &measured.submit), ("end", &measured.end)] {
        if latency.count() == 0 {
            continue;
        }
        let _ = write!(text, "{name:8} {:>9} {:>9.1}", latency.count(), rate(latency.count(), took));
        for time in [latency.percentile(50), latency.percentile(90), latency.percentile(99), latency.max()] {
            let _ = write!(text, " {:>11.3}", millis(time));
        }
        text.push('\n');
    }
    for (code, count) in &measured.errors {
        let _ = writeln!(text, "error    {count:>9}  {}", Escaped(code));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_goes_to_this_machine_only() {
        for (url, here) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8080", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://0.0.0.0:8080", true),
            ("http://localhost:8080", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("https://api.example.com", false),
        ] {
            assert_eq!(is_here(&Url::parse(url).unwrap()), here, "{url}");
        }
        assert!(duration("2h").is_err() && duration("30s").is_ok());
    }
}

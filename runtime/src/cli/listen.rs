//! The command `listen`: the inspector by itself. It needs neither settings nor a store.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use url::Url;

use super::secret_file;
use crate::inspector::{Filter, Format, Key, Options, target};
use crate::settings::signing_secrets;
use postback_wire::line::Causes;

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const EXIT_CODES: &str = "Exit codes:
  0    stopped by a signal; with --wait: the webhook has come
  1    cannot listen; with --wait: the webhook has not come
  2    a mistake in the command line or in a secret";

/// The arguments of `listen`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Listen {
    /// Where to listen: a port, or an address of this machine with a port
    #[arg(value_name = "ADDRESS", default_value = super::INSPECTOR, value_parser = address)]
    pub(crate) address: SocketAddr,
    /// Print one line of JSON for each webhook
    #[arg(long)]
    json: bool,
    /// Pass each webhook on to this URL, byte for byte, and answer as the URL answers
    #[arg(long, value_name = "URL", value_parser = target)]
    forward: Option<Url>,
    /// Check signatures with this secret or public key; may be repeated. Other users of this machine can see it: prefer
    /// --secret-file, or the variable POSTBACK_DELIVERY__SECRETS
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Check signatures with the secrets and public keys in this file, one in a line
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Stop when a webhook comes for which this filter holds, such as 'status=completed inbox=orders'
    #[arg(long, value_name = "FILTER")]
    wait: Option<Filter>,
    /// Stop waiting after this time, such as 30s
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Parses a port, or an address with a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "use a port such as 4000, or an address such as 127.0.0.1:4000".to_owned())
}

impl Listen {
    /// Returns how the inspector works. Fails if a secret cannot be read. No message contains a secret.
    pub(crate) fn options(&self, print: fn(&str)) -> Result<Options, String> {
        let format = if self.json { Format::Json } else { Format::Compact };
        let (forward, wait) = (self.forward.clone(), self.wait.clone());
        Ok(Options { print, format, keys: self.keys()?, forward, wait })
    }

    fn keys(&self) -> Result<Vec<Key>, String> {
        let mut keys = Vec::new();
        for secret in &self.secret {
            keys.push(key(secret, "--secret")?);
        }
        if let Some(path) = &self.secret_file {
            for (text, place) in secret_file::lines(path)? {
                keys.push(key(&text, &place)?);
            }
        }
        // The variable holds a list, as for the server.
        let is_separator = |c: char| c.is_whitespace() || "[],\"'".contains(c);
        for secret in signing_secrets().unwrap_or_default().split(is_separator).filter(|text| !text.is_empty()) {
            keys.push(key(secret, "POSTBACK_DELIVERY__SECRETS")?);
        }
        Ok(keys)
    }

    /// Makes the lines that are printed when the inspector listens. The first line must not change, because other programs
    /// wait for it.
    pub(crate) fn ready(&self, url: &str, keys: usize) -> String {
        let mut text = format!("{GOOD}postback listening on {url}{GOOD:#}\n");
        let signatures = match keys {
            0 => "not checked; use --secret-file or POSTBACK_DELIVERY__SECRETS".to_owned(),
            1 => "checked with one key".to_owned(),
            keys => format!("checked with {keys} keys"),
        };
        // The results of `writeln!` are ignored, because writing to a `String` cannot fail.
        let mut line = |name: &str, told: &str| {
            let _ = writeln!(text, "  {DIM}{name:10}{DIM:#}  {told}");
        };
        line("page", "open the URL in a browser");
        line("inboxes", &format!("{url}NAME is the inbox NAME"));
        line("signatures", &signatures);
        if let Some(forward) = &self.forward {
            line("passed on", &format!("to {}", postback_wire::webhook::Shown(forward)));
        }
        text
    }

    pub(crate) fn waits(&self) -> bool {
        self.wait.is_some()
    }
}

fn key(text: &str, place: &str) -> Result<Key, String> {
    text.trim().parse().map_err(|error| format!("{place}: {}", Causes(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_this_machine() {
        assert_eq!(address("4001"), Ok("127.0.0.1:4001".parse().unwrap()));
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        assert!(address("70000").is_err() && address("localhost").is_err());
    }
}

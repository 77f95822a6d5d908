//! Which destinations the operator trusts, and who signs what goes where.

use std::borrow::Cow;
use std::fmt;

use url::Url;

use super::guard::Trust;
use crate::secret::Secret;
use crate::webhook::{Shown, Webhook};

/// A URL that the operator named: it and the paths below it are trusted.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) url: Url,
    /// What its reports are signed with: all of them sign, that is how they are rotated.
    pub(crate) secrets: Vec<Secret>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({}, {} secrets)", Shown(&self.url), self.secrets.len())
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations {
    /// Invariant: the longest path first, so that the first match is the longest.
    list: Vec<Destination>,
}

/// How far a webhook is trusted, and the secrets that sign what goes there; none: it goes unsigned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing<'a> {
    pub(crate) trust: Trust,
    pub(crate) secrets: Cow<'a, [Secret]>,
}

impl Destinations {
    /// Those without secrets of their own get the default ones.
    pub(crate) fn new(mut list: Vec<Destination>, default_secrets: &[Secret]) -> Self {
        for destination in &mut list {
            if destination.secrets.is_empty() {
                destination.secrets = default_secrets.to_vec();
            }
        }
        list.sort_by_key(|destination| std::cmp::Reverse(destination.url.path().len()));
        Self { list }
    }

    /// The trusted destination that this URL is, or is below.
    pub(crate) fn find(&self, url: &Url) -> Option<&Destination> {
        self.list.iter().find(|destination| covers(&destination.url, url))
    }

    /// A webhook's own secret goes before its destination's. Elsewhere nothing is signed in the operator's name: whoever
    /// named the URL could replay it to the operator's own receiver.
    pub(crate) fn standing<'a>(&'a self, webhook: &'a Webhook) -> Standing<'a> {
        let destination = self.find(webhook.url());
        let trust = if destination.is_some() { Trust::Trusted } else { Trust::Strict };
        let secrets = match (&webhook.own().secret, destination) {
            (Some(own), _) => Cow::Owned(vec![own.clone()]),
            (None, Some(destination)) => Cow::Borrowed(destination.secrets.as_slice()),
            (None, None) => Cow::Borrowed([].as_slice()),
        };
        Standing { trust, secrets }
    }
}

fn covers(trusted: &Url, url: &Url) -> bool {
    trusted.scheme() == url.scheme()
        && trusted.host() == url.host()
        && trusted.port_or_known_default() == url.port_or_known_default()
        && path_below(trusted.path(), url.path()).is_some_and(|rest| !climbs(rest))
}

/// What follows the trusted path, if the other is the same or below it, segment by segment.
fn path_below<'a>(trusted: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(trusted)?;
    (rest.is_empty() || rest.starts_with('/') || trusted.ends_with('/')).then_some(rest)
}

/// Whether a receiver that decodes more than the URL standard does would read a `..` out of this. The parser has resolved
/// the plain ones and `%2e%2e`; encoded slashes it leaves alone, and some servers cut a segment at `;` first.
fn climbs(path: &str) -> bool {
    if !path.contains(['.', '%']) {
        return false;
    }
    let lower = path.to_ascii_lowercase();
    let decoded = lower.replace("%2f", "/").replace("%5c", "/").replace("%3b", ";").replace("%2e", ".");
    decoded.split(['/', '\\']).any(|segment| segment.split(';').next() == Some(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(letter: char) -> Secret {
        format!("whsec_{}", String::from(letter).repeat(32)).parse().unwrap()
    }

    fn destinations(urls: &[&str]) -> Destinations {
        let list = urls.iter().map(|url| Destination { url: Url::parse(url).unwrap(), secrets: vec![] }).collect();
        Destinations::new(list, &[secret('D')])
    }

    fn check(trusted: &str, url: &str, expected: bool) {
        let found = destinations(&[trusted]).find(&Url::parse(url).unwrap()).is_some();
        assert_eq!(found, expected, "{url} under {trusted}");
    }

    #[test]
    fn a_destination_covers_itself_and_what_is_below() {
        let trusted = "https://hooks.example.com/in";
        for url in [
            "https://hooks.example.com/in",
            "https://hooks.example.com/in/",
            "https://hooks.example.com/in/x/y",
            "https://hooks.example.com/in?token=1#f",
            "https://HOOKS.example.com:443/in",
            "https://hooks.example.com/other/../in/x",
            "https://hooks.example.com/%2e%2e/in",
            "https://hooks.example.com/in/a%2Fb",
            "https://hooks.example.com/in/..x",
        ] {
            check(trusted, url, true);
        }
        check("https://example.com", "https://example.com/anything", true);
        check("https://example.com/in/", "https://example.com/in/", true);
        check("https://example.com/in/", "https://example.com/in/x", true);
        check("http://127.0.0.1:4000/in", "http://2130706433:4000/in", true);
        check("https://example.com/in?x=1", "https://example.com/in?y=2", true);
    }

    #[test]
    fn nothing_else_is_trusted() {
        let trusted = "https://hooks.example.com/in";
        for url in [
            "http://hooks.example.com/in",
            "https://hooks.example.com:8443/in",
            "https://example.com/in",
            "https://hooks.example.com.evil.com/in",
            "https://hooks.example.com./in",
            "https://hooks.example.com/inside",
            "https://hooks.example.com/",
            "https://hooks.example.com/IN",
            "https://hooks.example.com/%69n",
            "https://hooks.example.com/in/../admin",
            "https://hooks.example.com/in/%2e%2e/admin",
            "https://hooks.example.com/in/.%2E/admin",
            "https://hooks.example.com/in\\..\\admin",
            "https://hooks.example.com/in/..%2Fadmin",
            "https://hooks.example.com/in/x%2f%2E%2e%2fadmin",
            "https://hooks.example.com/in/..%5cadmin",
            "https://hooks.example.com/in/..;/admin",
            "https://hooks.example.com/in/%2e%2e%3bx/admin",
            "https://hooks.example.com/in%2Fx",
            "https://hooks.example.com/in;x",
        ] {
            check(trusted, url, false);
        }
        check("https://example.com/in/", "https://example.com/in", false);
    }

    #[test]
    fn the_longest_match_wins() {
        let url = |text: &str| Url::parse(text).unwrap();
        let list = vec![
            Destination { url: url("https://example.com/"), secrets: vec![secret('A')] },
            Destination { url: url("https://example.com/in/deep"), secrets: vec![secret('B')] },
            Destination { url: url("https://example.com/in"), secrets: vec![] },
        ];
        let destinations = Destinations::new(list, &[secret('D'), secret('E')]);
        let secrets = |text: &str| destinations.find(&url(text)).unwrap().secrets.clone();
        assert_eq!(secrets("https://example.com/x"), [secret('A')]);
        assert_eq!(secrets("https://example.com/in/deep/x"), [secret('B')]);
        assert_eq!(secrets("https://example.com/in/deeper"), [secret('D'), secret('E')]);
    }

    #[test]
    fn only_trusted_destinations_are_signed_in_the_operators_name() {
        let destinations = destinations(&["https://example.com/in"]);
        let (trusted, other) = ("https://example.com/in/x", "https://example.org/in");
        let plain = |url: &str| Webhook::new(url).unwrap();
        let check = |webhook: &Webhook, trust: Trust, secrets: &[Secret]| {
            let standing = destinations.standing(webhook);
            assert_eq!((standing.trust, standing.secrets.as_ref()), (trust, secrets), "{webhook:?}");
        };
        check(&plain(trusted), Trust::Trusted, &[secret('D')]);
        check(&plain(trusted).secret(secret('O')), Trust::Trusted, &[secret('O')]);
        check(&plain(other), Trust::Strict, &[]);
        check(&plain(other).secret(secret('O')), Trust::Strict, &[secret('O')]);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let shown = format!("{:?}", destinations(&["https://example.com/in?token=s3cret"]));
        assert!(shown.contains("https://example.com/in?…, 1 secrets") && !shown.contains("s3cret"), "{shown}");
    }
}

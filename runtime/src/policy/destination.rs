//! The destinations that the operator trusts, which secrets sign the reports to a URL, and how far a webhook may reach.

mod traversal;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use url::Url;

use super::guard::Reach;
use postback_wire::report::Format;
use postback_wire::secret::Secret;
use postback_wire::webhook::{Shown, Webhook, origin_of};

/// The largest number of origins that a warning names.
const MOST_NAMED: usize = 5;

/// A URL that the operator trusts. A webhook that the operator chose is trusted at this URL and at the paths below it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) url: Url,
    /// The secrets that sign the reports to this destination. Each report is signed with all of them, so that the
    /// operator can rotate a secret.
    pub(crate) secrets: Vec<Secret>,
    /// Whether the destination may be on a private network or on this machine.
    pub(crate) private: bool,
    /// The form of the reports to this destination. `None`: the usual one.
    pub(crate) format: Option<Format>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({}, {} secrets)", Shown(&self.url), self.secrets.len())
    }
}

/// All URLs that the operator trusts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations {
    /// Invariant: destinations with longer paths come first. So the first destination that matches a URL has the
    /// longest path.
    list: Vec<Destination>,
    /// What applies to every other URL, in a test.
    #[cfg(all(feature = "testing", feature = "server"))]
    others: Option<Destination>,
}

/// The networks that a webhook is allowed to go to, and the secrets that sign its reports. If there are no secrets, the
/// reports are unsigned. The allowed networks do not depend on the secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DestinationPolicy<'a> {
    pub(crate) reach: Reach,
    pub(crate) secrets: Cow<'a, [Secret]>,
}

impl Destinations {
    /// Stores the trusted destinations. A destination without secrets gets the default secrets.
    pub(crate) fn new(mut list: Vec<Destination>, default_secrets: &[Secret]) -> Self {
        for destination in &mut list {
            if destination.secrets.is_empty() {
                destination.secrets = default_secrets.to_vec();
            }
        }
        list.sort_by_key(|destination| std::cmp::Reverse(destination.url.path().len()));
        Self {
            list,
            #[cfg(all(feature = "testing", feature = "server"))]
            others: None,
        }
    }

    /// Treats every URL as one that the operator trusts, with these secrets. The tests of a user have no settings that
    /// name their URLs.
    #[cfg(all(feature = "testing", feature = "server"))]
    pub(crate) fn trusting_all(self, secrets: &[Secret], url: Url) -> Self {
        Self { others: Some(Destination { url, secrets: secrets.to_vec(), private: true, format: None }), ..self }
    }

    /// Returns the trusted destination to which this URL belongs.
    pub(crate) fn find(&self, url: &Url) -> Option<&Destination> {
        let found = self.list.iter().find(|destination| covers(&destination.url, url));
        #[cfg(all(feature = "testing", feature = "server"))]
        let found = found.or(self.others.as_ref());
        found
    }

    /// Returns those destinations alone whose reports have a form of their own. Mostly there are none.
    pub(crate) fn with_formats(mut self) -> Self {
        self.list.retain(|destination| destination.format.is_some());
        self
    }

    /// Returns the policy for a webhook. If the webhook has a secret of its own, only this secret signs its reports. If
    /// the webhook has no secret and is not trusted, its reports are unsigned. Otherwise a caller could get a report
    /// that is signed with the operator's secret, and could send this report to the operator's own receiver.
    pub(crate) fn policy_for<'a>(&'a self, webhook: &'a Webhook) -> DestinationPolicy<'a> {
        let destination = self.find(webhook.url()).filter(|_| webhook.is_operator());
        let private = destination.is_some_and(|destination| destination.private);
        let reach = if private { Reach::Private } else { Reach::Public };
        let secrets = match (&webhook.own().secret, destination) {
            (Some(own), _) => Cow::Owned(vec![own.clone()]),
            (None, Some(destination)) => Cow::Borrowed(destination.secrets.as_slice()),
            (None, None) => Cow::Borrowed([].as_slice()),
        };
        DestinationPolicy { reach, secrets }
    }

    /// Whether a webhook is trusted. A webhook is trusted if the operator chose it and its URL is a trusted
    /// destination. A trusted webhook is allowed to go to private networks only if its destination is `private`.
    pub(crate) fn trusts(&self, webhook: &Webhook) -> bool {
        webhook.is_operator() && self.find(webhook.url()).is_some()
    }

    /// Whether a webhook is not trusted although its URL is a trusted destination. The reason is that the operator did
    /// not choose the webhook.
    pub(crate) fn withholds_trust(&self, webhook: &Webhook) -> bool {
        !webhook.is_operator() && self.find(webhook.url()).is_some()
    }

    /// Returns a warning about origins that share an HMAC secret. `None` if there are no such origins.
    pub(crate) fn shared_secret(&self) -> Option<String> {
        let sharing = self.sharing_hmac();
        let (named, more) = sharing.split_at_checked(MOST_NAMED).unwrap_or((&sharing, &[]));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        (!sharing.is_empty()).then(|| {
            format!(
                "{}{more} verify with the same whsec_ secret, so the owner of one can forge reports to the others; give each a \
                 secret of its own (secrets of a [[delivery.endpoint]], or Webhook::secret), or sign with a whsk_ key",
                named.join(", ")
            )
        })
    }

    /// Returns the origins that share an HMAC secret with another origin. The owner of one of these receivers could
    /// forge reports to the other receivers.
    fn sharing_hmac(&self) -> Vec<&str> {
        let shares = |one: &Destination, other: &Destination| {
            origin_of(&one.url) != origin_of(&other.url)
                && one.secrets.iter().any(|secret| secret.public_key().is_none() && other.secrets.contains(secret))
        };
        let all = self.list.iter().filter(|one| self.list.iter().any(|other| shares(one, other)));
        all.map(|one| origin_of(&one.url)).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn covers(trusted: &Url, url: &Url) -> bool {
    trusted.scheme() == url.scheme()
        && trusted.host() == url.host()
        && trusted.port_or_known_default() == url.port_or_known_default()
        && path_below(trusted.path(), url.path()).is_some_and(|rest| !traversal::may_leave(rest))
}

/// Returns the part of `path` after the trusted path. `None` if `path` is not the trusted path and not below it. Only
/// whole segments are compared.
fn path_below<'a>(trusted: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(trusted)?;
    (rest.is_empty() || rest.starts_with('/') || trusted.ends_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_wire::webhook::Provenance;

    fn secret(letter: char) -> Secret {
        format!("whsec_{}", String::from(letter).repeat(32)).parse().unwrap()
    }

    fn destination(url: &str, secrets: Vec<Secret>) -> Destination {
        Destination { url: Url::parse(url).unwrap(), secrets, private: false, format: None }
    }

    fn destinations(urls: &[&str]) -> Destinations {
        let list = urls.iter().map(|url| destination(url, vec![])).collect();
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
            "https://hooks.example.com/in/100%25/%252f/x%2520y",
            "https://hooks.example.com/in/caf%C3%A9/%",
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
            // In these paths, `..` is encoded twice or more often.
            "https://hooks.example.com/in/%252e%252e/admin",
            "https://hooks.example.com/in/%25252e%25252E%25252fadmin",
            "https://hooks.example.com/in/..%252fadmin",
            "https://hooks.example.com/in/%25%32%65%25%32%65/admin",
            "https://hooks.example.com/in/x%25%35%63..%255cadmin",
            "https://hooks.example.com/in/%2525252525252525252525252525252e./admin",
            // Only broken decoders read these bytes as a dot or a slash.
            "https://hooks.example.com/in/%c0%ae%c0%ae/admin",
            "https://hooks.example.com/in/..%c0%afadmin",
            "https://hooks.example.com/in/%25c0%25ae./admin",
            "https://hooks.example.com/in/%u002e%u002e/admin",
            "https://hooks.example.com/in/..%00/admin",
            "https://hooks.example.com/in/..%20/admin",
            "https://hooks.example.com/in/..%253fx/admin",
        ] {
            check(trusted, url, false);
        }
        check("https://example.com/in/", "https://example.com/in", false);
    }

    #[test]
    fn the_longest_match_wins() {
        let url = |text: &str| Url::parse(text).unwrap();
        let list = vec![
            destination("https://example.com/", vec![secret('A')]),
            destination("https://example.com/in/deep", vec![secret('B')]),
            destination("https://example.com/in", vec![]),
        ];
        let destinations = Destinations::new(list, &[secret('D'), secret('E')]);
        let secrets = |text: &str| destinations.find(&url(text)).unwrap().secrets.clone();
        assert_eq!(secrets("https://example.com/x"), [secret('A')]);
        assert_eq!(secrets("https://example.com/in/deep/x"), [secret('B')]);
        assert_eq!(secrets("https://example.com/in/deeper"), [secret('D'), secret('E')]);
    }

    #[test]
    fn who_chose_a_url_decides_and_signing_says_nothing_of_reach() {
        let list = vec![
            destination("https://example.com/in", vec![]),
            Destination { private: true, ..destination("https://example.com/in/private", vec![secret('P')]) },
        ];
        let destinations = Destinations::new(list, &[secret('D')]);
        let plain = |url: &str, by| Webhook::new(url).unwrap().chosen_by(by);
        let check = |webhook: &Webhook, reach: Reach, secrets: &[Secret]| {
            let policy = destinations.policy_for(webhook);
            assert_eq!((policy.reach, policy.secrets.as_ref()), (reach, secrets), "{webhook:?}");
        };
        let (public, private) = ("https://example.com/in/x", "https://example.com/in/private/x");
        let operators = Some(Provenance::Operator);
        check(&plain(public, operators), Reach::Public, &[secret('D')]);
        check(&plain(public, operators).secret(secret('O')), Reach::Public, &[secret('O')]);
        check(&plain(private, operators), Reach::Private, &[secret('P')]);
        check(&plain(private, operators).secret(secret('O')), Reach::Private, &[secret('O')]);
        check(&plain("https://example.org/in", operators), Reach::Public, &[]);
        for by in [Some(Provenance::Caller), None] {
            for url in [public, private, "https://example.org/in"] {
                check(&plain(url, by), Reach::Public, &[]);
                check(&plain(url, by).secret(secret('O')), Reach::Public, &[secret('O')]);
            }
            assert!(destinations.withholds_trust(&plain(public, by)));
            assert!(!destinations.withholds_trust(&plain("https://example.org/in", by)));
        }
        assert!(!destinations.withholds_trust(&plain(public, operators)));
        assert!(destinations.trusts(&plain(public, operators)) && !destinations.trusts(&plain(public, None)));
    }

    #[test]
    fn origins_that_share_an_hmac_secret_are_found() {
        let ed25519: Secret =
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
                .parse()
                .unwrap();
        let sharing = |list: Vec<(&str, Vec<Secret>)>, default: &[Secret]| -> Vec<String> {
            let list = list.into_iter().map(|(url, secrets)| destination(url, secrets)).collect();
            Destinations::new(list, default).sharing_hmac().into_iter().map(str::to_owned).collect()
        };
        let (a, b, c) = ("https://a.example/1", "https://b.example/", "https://c.example/");
        assert_eq!(sharing(vec![(b, vec![]), (a, vec![])], &[secret('D')]), ["https://a.example", "https://b.example"]);
        let rotating = vec![secret('N'), secret('B')];
        assert_eq!(
            sharing(vec![(a, rotating), (b, vec![secret('B')]), (c, vec![secret('C')])], &[]),
            ["https://a.example", "https://b.example"]
        );
        // Two URL paths of one origin belong to one receiver. So the two paths may have the same shared secret, and
        // there is no warning.
        assert!(sharing(vec![(a, vec![]), ("https://a.example/2", vec![])], &[secret('D')]).is_empty());
        // With an Ed25519 key, a receiver can verify a signature but cannot make one. So there is no warning if two
        // receivers have the same Ed25519 key.
        assert!(sharing(vec![(a, vec![]), (b, vec![])], &[ed25519]).is_empty());
        assert!(sharing(vec![(a, vec![secret('A')]), (b, vec![])], &[secret('D')]).is_empty());
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let shown = format!("{:?}", destinations(&["https://example.com/in?token=s3cret"]));
        assert!(shown.contains("https://example.com/in?…, 1 secrets") && !shown.contains("s3cret"), "{shown}");
    }
}

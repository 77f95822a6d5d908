//! Checks the keys of `[server]` that say who may use the API, and the tables `[[server.token]]`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

use http::HeaderValue;
use url::Url;

use super::mismatch::{Mismatch, expected, refused};
use super::read::{self, one_of};
use super::section::Section;
use super::set_by::SetBy;
use super::tree::Node;
use crate::access::{
    Auth, HashText, HostPattern, Options, Origins, Public, Rate, Scope, Source, Terms, TokenInfo, parse_time,
};

/// The largest file that holds a token, in bytes. The file may have a line break at its end.
const MAX_FILE: u64 = 1_024;
/// The number of characters of a token's name.
const MAX_NAME: usize = 100;
const CALLS: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;
const BYTES: std::ops::RangeInclusive<u64> = 1..=1 << 50;

const HOSTS: &str = "a list of host names such as \"api.example.com\" or \"*.example.com\"";
const SCOPES: &str = "a list of \"submit\", \"read\" and \"cancel\"";
const ROUTES: &str = "a list of routes such as \"/greet\"";
const NAME: &str = "a name of 1 to 100 characters";

/// Reads the keys of `[server]` that say who may use the API. `env` are the variables of the environment, which may
/// hold tokens.
pub(super) fn options(section: &mut Section<'_>, env: &[(OsString, OsString)]) -> Options {
    let network = |node| read::parsed(node, "a network such as \"10.1.0.0/16\"", |text| read::network(text.trim()));
    let mut known = HashSet::new();
    Options {
        auth: section
            .take("auth", Auth::Tokens, |node| one_of(node, &[("tokens", Auth::Tokens), ("none", Auth::None)])),
        hosts: section.take("hosts", Vec::new(), |node| read::list(node, HOSTS, host)),
        trusted_proxies: section.take("trusted_proxies", Vec::new(), |node| {
            read::list(node, "a list of networks such as \"10.1.0.0/16\"", network)
        }),
        public: section.take("public", Public::default(), public),
        cors_origins: section.take("cors_origins", Origins::None, origins),
        tokens: section.take_tables("token", |table| token(table, env, &mut known)),
    }
}

fn host(node: Node) -> Result<HostPattern, Mismatch> {
    read::checked(node, "a host name", |text| text.parse().map_err(refused))
}

fn public(node: Node) -> Result<Public, Mismatch> {
    const OPENAPI: &str = "openapi";
    const METRICS: &str = "metrics";
    let names = [(OPENAPI, OPENAPI), (METRICS, METRICS)];
    let listed = read::list(node, "a list that may have \"openapi\" and \"metrics\"", |node| one_of(node, &names))?;
    Ok(Public { openapi: listed.contains(&OPENAPI), metrics: listed.contains(&METRICS) })
}

/// Reads the origins of web pages. `*` allows every page.
fn origins(node: Node) -> Result<Origins, Mismatch> {
    let wanted = "an origin such as \"https://app.example.com\", without a path, or \"*\"";
    let origin = |node| {
        read::parsed(node, wanted, |text| {
            let text = text.trim();
            // The form of an origin is that of a browser: a scheme, a host and a port that is not the usual one.
            let is_origin = || {
                Url::parse(text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
            };
            (text == "*" || is_origin()).then(|| HeaderValue::try_from(text).ok())?
        })
    };
    let listed = read::list(node, "a list of origins such as \"https://app.example.com\"", origin)?;
    Ok(match listed {
        listed if listed.is_empty() => Origins::None,
        listed if listed.iter().any(|origin| origin == "*") => Origins::Any,
        listed => Origins::Listed(listed),
    })
}

/// Reads one table `[[server.token]]`. Returns `None` if the table has a mistake that leaves no token.
fn token(table: &mut Section<'_>, env: &[(OsString, OsString)], known: &mut HashSet<String>) -> Option<TokenInfo> {
    let terms = Terms {
        scopes: table.take("scopes", Terms::default().scopes, scopes),
        routes: table.take("routes", Vec::new(), |node| read::list(node, ROUTES, route)),
        webhook_hosts: table.take("webhook_hosts", Vec::new(), |node| read::list(node, HOSTS, host)),
        rate: table.take("rate", None, |node| read::checked(node, "a rate", rate)),
        max_queued: table.take("max_queued", None, |node| read::whole(node, &CALLS).map(Some)),
        max_queued_bytes: table
            .take("max_queued_bytes", None, |node| read::size(node, &BYTES).map(|bytes| Some(bytes as u64))),
    };
    let expires = table.take("expires", None, |node| {
        read::parsed(node, "a time such as \"2027-01-31T00:00:00Z\"", |text| parse_time(text).map(Some))
    });
    if !table.has("name") {
        table.missing("name");
    }
    let (name, of_name) = table.take_with_place("name", None, |node| read::parsed(node, NAME, name).map(Some));
    let (hash, of_hash) = hash(table, env)?;
    let name = name?;
    for (key, value, set_by) in [("name", &name, &of_name), ("hash", &hash.id, &of_hash)] {
        if !known.insert(format!("{key} {value}")) {
            table.refuse(key, set_by, expected("a name and a token that no other [[server.token]] has"));
        }
    }
    let mut token = TokenInfo::new(&hash.id, &name, hash.hash, Source::Settings, terms);
    token.expires = expires;
    Some(token)
}

fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned())
}

fn route(node: Node) -> Result<String, Mismatch> {
    read::parsed(node, "a route, which begins with /", |text| text.starts_with('/').then(|| text.to_owned()))
}

fn rate(text: &str) -> Result<Option<Rate>, Mismatch> {
    text.parse().map(Some).map_err(refused)
}

fn scopes(node: Node) -> Result<std::collections::BTreeSet<Scope>, Mismatch> {
    let names = Scope::ALL.map(|scope| (scope.as_str(), scope));
    let scopes = read::list(node, SCOPES, |node| one_of(node, &names))?;
    if scopes.is_empty() { Err(expected(SCOPES)) } else { Ok(scopes.into_iter().collect()) }
}

/// Reads the token's hash from the one of the keys `hash`, `file` and `env` that the table has.
fn hash(table: &mut Section<'_>, env: &[(OsString, OsString)]) -> Option<(HashText, SetBy)> {
    let given: Vec<_> = ["hash", "file", "env"].into_iter().filter(|key| table.has(key)).collect();
    let key = given.first().copied().unwrap_or("hash");
    let (hash, set_by) = table.take_with_place(key, None, |node| match key {
        "hash" => read::checked(node, "the hash of a token", |text| text.trim().parse().map(Some).map_err(refused)),
        "file" => of_file(node).map(Some),
        _ => of_variable(node, env).map(Some),
    });
    match given.as_slice() {
        [] => table.missing("hash"),
        [_] => {}
        [_, more @ ..] => {
            for key in more {
                let ((), set_by) = table.take_with_place(key, (), |_| Ok(()));
                table.refuse(key, &set_by, expected("only one of hash, file and env"));
            }
        }
    }
    Some((hash?, set_by))
}

/// The error of a file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the file that holds the token cannot be read")]
struct Unreadable(#[source] std::io::Error);

fn of_file(node: Node) -> Result<HashText, Mismatch> {
    let path = read::parsed(node, "the path of a file that holds a token", |text| Some(PathBuf::from(text)))?;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map_err(|error| refused(Unreadable(error)))?;
    hash_of(&text)
}

fn of_variable(node: Node, env: &[(OsString, OsString)]) -> Result<HashText, Mismatch> {
    let wanted = "the name of an environment variable that is set, and holds a token";
    let text = read::parsed(node, wanted, |name| {
        let (_, value) = env.iter().find(|(known, _)| known == name.trim())?;
        value.to_str().map(str::to_owned)
    })?;
    hash_of(&text)
}

fn hash_of(text: &str) -> Result<HashText, Mismatch> {
    HashText::of_token(text.trim()).map_err(refused)
}

/// Returns a warning if the settings name tokens that are not asked for.
pub(super) fn warning(options: &Options) -> Option<String> {
    (options.auth == Auth::None && !options.tokens.is_empty())
        .then(|| "server.auth is \"none\", so no [[server.token]] is asked for; remove the one or the other".to_owned())
}

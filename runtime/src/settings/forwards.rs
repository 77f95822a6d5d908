//! The tables `[[forward]]`: routes that another HTTP server answers.

use std::path::PathBuf;

use url::Url;

use super::mismatch::{Mismatch, expected};
use super::read;
use super::section::Section;
use super::tree::Node;
use postback_wire::webhook::Shown;

/// The allowed values of `forward.max_answer`, in bytes.
const MAX_ANSWER: std::ops::RangeInclusive<u64> = 1..=64 << 20;

/// A route that the operator has declared: its requests are posted to a target, whose answer is the outcome.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    /// The path of the route.
    pub(crate) path: String,
    /// The URL of the target.
    pub(crate) url: Url,
    /// The URL that gets the reports of the route. It is a trusted destination.
    pub(crate) webhook: Option<Url>,
    /// The path of the target that tells whether the target is ready.
    pub(crate) ready: Option<String>,
    /// The largest number of bytes of an answer.
    pub(crate) max_answer: usize,
    /// The path of a file with additional root certificates to trust.
    pub(crate) ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Forward({} to {})", self.path, Shown(&self.url))
    }
}

/// Reads the list of tables `forward` of the root.
pub(super) fn forwards(root: &mut Section<'_>) -> Vec<Forward> {
    if cfg!(not(feature = "forward")) && root.has("forward") {
        let _: () = root.take("forward", (), |_| {
            Err(expected("no key; it needs the feature `forward` of postback, and this program was built without it"))
        });
    }
    root.take_tables("forward", |forward| {
        for key in ["path", "url"] {
            if !forward.has(key) {
                forward.missing(key);
            }
        }
        let path = forward.take("path", None, |node| read::parsed(node, PATH, path).map(Some));
        let url = forward.take("url", None, url);
        let webhook = forward.take("webhook", None, |node| read::optional(node, read::url));
        let wanted = "the path of an URL, such as \"/healthz\"";
        let ready = |node| read::optional(node, |node| read::parsed(node, wanted, path_of_url));
        let file = |node| read::parsed(node, "the path of a file", |text| Some(PathBuf::from(text)));
        let forward = Forward {
            webhook,
            ready: forward.take("ready", None, ready),
            max_answer: forward.take("max_answer", 10 << 20, |node| read::size(node, &MAX_ANSWER)),
            ca_file: forward.take("ca_file", None, |node| read::optional(node, file)),
            path: path?,
            url: url?,
        };
        Some(forward)
    })
}

const PATH: &str = "the path of a route, such as \"/classify\"";

/// The path is checked further together with the routes of the program.
fn path(text: &str) -> Option<String> {
    text.starts_with('/').then(|| text.to_owned())
}

fn path_of_url(text: &str) -> Option<String> {
    (text.starts_with('/') && !text.starts_with("//")).then(|| text.to_owned())
}

fn url(node: Node) -> Result<Option<Url>, Mismatch> {
    read::parsed(node, "an URL that begins with http:// or https://", |text| {
        let url = Url::parse(text.trim()).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.host_str().is_some()).then_some(Some(url))
    })
}

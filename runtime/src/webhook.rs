//! Where a report goes: [`Webhook`], and what can be written in its place ([`IntoWebhook`]).

mod capture;
mod provenance;
mod shown;
mod target;

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

pub use self::capture::{IntoWebhook, Webhooks};
#[cfg(feature = "server")]
pub(crate) use self::provenance::Operators;
pub(crate) use self::provenance::Provenance;
pub use self::provenance::{Chosen, Whose};
pub(crate) use self::shown::Shown;
#[cfg(feature = "server")]
pub(crate) use self::shown::shown;
pub(crate) use self::target::{Target, origin_of};
use crate::secret::Secret;

/// The longest URL that is accepted, in bytes.
const MAX_URL: usize = 2_048;
/// The longest name of a host, and of its parts between the dots: RFC 1035.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
/// The most headers that a webhook may have of its own.
const MAX_HEADERS: usize = 32;

/// One place that a report is sent to: a URL, and optionally headers and a signing secret of its own.
///
/// A bare URL is enough wherever a webhook is wanted; this type is for the rest, and for a URL that is used often: it is
/// parsed once. Cheap to clone.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use postback::Webhook;
///
/// let webhook = Webhook::new("https://example.com/hooks")?
///     .header("authorization", "Bearer abc")?
///     .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?);
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook(Arc<Parts>);

#[derive(Clone, PartialEq, Eq)]
struct Parts {
    url: Url,
    own: Own,
}

/// What a webhook has besides its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) headers: HeaderMap,
    pub(crate) secret: Option<Secret>,
    /// Who chose it; `None`: nobody said so, and it is a caller's.
    pub(crate) chosen_by: Option<Provenance>,
}

impl Webhook {
    /// A webhook at this URL.
    ///
    /// # Errors
    ///
    /// If the text is no absolute `http` or `https` URL, its host is no address and no name that could be looked up, or it
    /// carries a user name or password, has port 0, or is longer than 2,048 bytes.
    pub fn new(url: impl AsRef<str>) -> Result<Self, WebhookError> {
        let text = url.as_ref();
        if text.len() > MAX_URL {
            return Err(Fault::TooLong { length: text.len() }.into());
        }
        // The parser strips these silently, so that what is shown would differ from what is called.
        if text.contains(|c: char| c.is_ascii_control()) {
            return Err(Fault::ControlCharacter.into());
        }
        let url = Url::parse(text).map_err(Fault::Syntax)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Fault::Scheme { scheme: url.scheme().into() }.into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Fault::Credentials.into());
        }
        if url.port() == Some(0) {
            return Err(Fault::Port.into());
        }
        if let Some(Host::Domain(name)) = url.host()
            && !is_name(name)
        {
            return Err(Fault::Host.into());
        }
        // Invariant: what is left can be called, which takes a `Uri`. A test holds it; to make one here would cost its copy.
        Ok(Self(Arc::new(Parts { url, own: Own::default() })))
    }

    /// Sends this header with every attempt; of two with the same name the later one wins.
    ///
    /// # Errors
    ///
    /// If name or value are not allowed in HTTP; if the header is one that the delivery itself sets (`webhook-…`,
    /// `content-type`, `user-agent`) or that frames the message (`host`, `content-length`, `connection` …); or if
    /// there are 32 already.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, WebhookError> {
        let refused = || WebhookError(Fault::Header { name: name.escape_debug().to_string() });
        let name = HeaderName::try_from(name).map_err(|_| refused())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| refused())?;
        let headers = &mut Arc::make_mut(&mut self.0).own.headers;
        if is_reserved(&name) || headers.len() >= MAX_HEADERS {
            return Err(refused());
        }
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(self)
    }

    /// Signs what goes here with this secret, in place of the operator's.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        Arc::make_mut(&mut self.0).own.secret = Some(secret);
        self
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    pub(crate) fn own(&self) -> &Own {
        &self.0.own
    }

    pub(crate) fn with_own(mut self, own: Own) -> Self {
        Arc::make_mut(&mut self.0).own = own;
        self
    }

    pub(crate) fn chosen_by(mut self, by: Option<Provenance>) -> Self {
        if self.own().chosen_by != by {
            Arc::make_mut(&mut self.0).own.chosen_by = by;
        }
        self
    }

    /// Whether the operator's side chose it.
    pub(crate) fn is_operators(&self) -> bool {
        self.own().chosen_by == Some(Provenance::Operator)
    }
}

/// The URL as it may be shown: without user name, password, query and fragment, which often carry a secret.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", Shown(self.url()))
    }
}

/// Whether a name can be looked up at all: RFC 1035, and underscores, which are common. The parser has made it ASCII and lower
/// case, and lets through more.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(allowed);
    host.len() <= MAX_NAME && host.split('.').all(is_label)
}

fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 14] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    name.as_str().starts_with("webhook-") || RESERVED.contains(&name.as_str())
}

/// A text is no [`Webhook`]. The message says why, and never repeats the URL, which may hold a secret.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct WebhookError(#[from] Fault);

crate::line::debug_as_message!(WebhookError);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("the webhook URL cannot be parsed; write an absolute one, such as https://example.com/hooks")]
    Syntax(#[source] url::ParseError),
    #[error("the webhook URL has the scheme `{scheme}`; use http or https")]
    Scheme { scheme: String },
    #[error("the webhook URL has a user name or password in it; send them as a header of the webhook instead")]
    Credentials,
    #[error("the webhook URL has port 0, which cannot be connected to")]
    Port,
    #[error(
        "the host of the webhook URL cannot be looked up: a name has parts of 1 to {MAX_LABEL} letters, digits, `-` and `_`, \
         separated by full stops, and at most {MAX_NAME} characters"
    )]
    Host,
    #[error("the webhook URL has a control character in it, such as a line break; remove it")]
    ControlCharacter,
    #[error("the webhook URL has {length} bytes, more than the {MAX_URL} that are allowed")]
    TooLong { length: usize },
    #[error("the header `{name}` cannot be set on a webhook: it is reserved, not valid in HTTP, or one too many")]
    Header { name: String },
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_that_no_report_can_go_to_are_refused() {
        let refused = |text: &str| Webhook::new(text).unwrap_err().to_string();
        assert!(refused("").contains("absolute"));
        assert!(refused("example.com/hooks").contains("absolute"));
        assert!(refused("ftp://example.com").contains("`ftp`"));
        assert!(refused("file:///etc/passwd").contains("`file`"));
        assert!(refused("https://user:pw@example.com").contains("password"));
        assert!(refused("http://example.com:0/").contains("port 0"));
        assert!(refused("https://exa\tmple.com").contains("control character"));
        assert!(refused(&format!("https://example.com/{}", "x".repeat(MAX_URL))).contains("2048"));
        Webhook::new("http://127.0.0.1:4000/x?token=1").unwrap();
    }

    #[test]
    fn hosts_that_nobody_can_look_up_are_refused() {
        let long = "a".repeat(64);
        let too_long = ["a".repeat(63).as_str(); 4].join(".");
        for host in [
            "a{b.example",
            "a}b",
            "a!b.example",
            "a,b",
            "a..b",
            ".a",
            "a..",
            "a*b.example",
            "(a)",
            "x'y",
            &long,
            &too_long,
        ] {
            let error = Webhook::new(format!("http://{host}/in")).unwrap_err().to_string();
            assert!(error.starts_with("the host of the webhook URL cannot be looked up"), "{host}: {error}");
            assert!(!error.contains(host), "{error}");
        }
        let longest = format!("{}.{}", ["a".repeat(63).as_str(); 3].join("."), "a".repeat(61));
        for host in ["a.example.", "localhost", "my_service", "x--y.example", "1.example", "bücher.example", &longest]
        {
            Webhook::new(format!("http://{host}/in")).unwrap();
        }
    }

    #[test]
    fn what_is_shown_has_no_query() {
        let webhook = Webhook::new("https://example.com:8443/hooks?token=s3cret#f").unwrap();
        assert_eq!(format!("{webhook:?}"), "Webhook(https://example.com:8443/hooks?…)");
    }

    #[test]
    fn headers_of_the_delivery_itself_are_refused() {
        let webhook = Webhook::new("https://example.com").unwrap();
        for name in ["webhook-id", "Webhook-Signature", "Host", "content-length", "User-Agent", "bad name"] {
            assert!(webhook.clone().header(name, "x").is_err(), "{name}");
        }
        assert!(webhook.clone().header("x-ok", "line\nbreak").is_err());
        webhook.header("authorization", "Bearer x").unwrap();
    }

    proptest! {
        /// Whatever it is made of: a URL that is taken can be sent to, so that it is not found out at each try.
        #[test]
        fn what_is_taken_can_be_called(host in "[a-z{}!|.]{1,4}|\\[::1\\]|a\\.b|\\PC{1,3}", rest in "([/?#]\\PC{0,8}|[/?#][ -~]{0,12}){0,3}") {
            if let Ok(webhook) = Webhook::new(format!("https://{host}{rest}")) {
                prop_assert!(Uri::try_from(webhook.url().as_str()).is_ok(), "{}", webhook.url());
            }
        }
    }
}

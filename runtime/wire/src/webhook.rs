//! The destination of a report: [`Webhook`], and the types that can be given as a webhook ([`IntoWebhook`]).

mod capture;
mod chosen;
mod provenance;
mod shown;
mod target;

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

pub use self::capture::{IntoWebhook, Webhooks};
pub use self::chosen::Chosen;
pub use self::provenance::OperatorCheck;
pub use self::provenance::Operators;
pub use self::provenance::Provenance;
pub use self::shown::Shown;
pub use self::shown::shown;
pub use self::target::{Target, origin_of};
use crate::format::Format;
use crate::names::header;
use crate::secret::Secret;

/// The largest allowed length of a webhook's URL, in bytes.
const MAX_URL: usize = 2_048;
/// The largest allowed length of a host name, in bytes, without the final dot. Source: RFC 1035.
const MAX_NAME: usize = 253;
/// The largest allowed length of a label in a host name, in bytes. A label is the text between two dots. Source: RFC
/// 1035.
const MAX_LABEL: usize = 63;
/// The largest number of headers that a user can set on a webhook.
const MAX_HEADERS: usize = 32;

/// A destination for reports: a URL, and optionally headers and a signing secret.
///
/// Wherever a webhook is expected, you can give a URL as text instead of this type. Use this type to set headers or a
/// secret, or, if you use the same URL often, to parse the URL only once. Cloning a webhook is cheap: the clone only
/// increments a reference count.
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

/// Everything in a webhook except its URL: headers, secret, and who chose the webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub headers: HeaderMap,
    pub secret: Option<Secret>,
    /// Who chose the webhook: the operator or a caller. `None` if the user's code does not say who chose the webhook. A
    /// webhook with `None` counts as chosen by a caller.
    pub chosen_by: Option<Provenance>,
}

impl Webhook {
    /// Makes a webhook with this URL.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not an absolute `http` or `https` URL, is longer than 2,048 bytes or has a
    /// control character; or if the URL has a user name, a password, port 0, or a host that is neither an address nor a
    /// valid name.
    pub fn new(url: impl AsRef<str>) -> Result<Self, WebhookError> {
        let text = url.as_ref();
        if text.len() > MAX_URL {
            return Err(Fault::TooLong { length: text.len() }.into());
        }
        // Control characters are refused, because the URL parser silently removes them, and the parsed URL would differ
        // from the given text.
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
        // Invariant: every accepted URL can be parsed as an `http::Uri`, because the delivery needs a `Uri`. The URL is
        // not parsed as a `Uri` here, because that would need a copy. A test checks the invariant with generated URLs.
        Ok(Self(Arc::new(Parts { url, own: Own::default() })))
    }

    /// Adds a header that is sent with every attempt. If the webhook has a header of the same name already, the new
    /// header replaces it.
    ///
    /// # Errors
    ///
    /// Returns an error if HTTP does not allow the name or the value; if the delivery sets the header itself
    /// (`webhook-…`, `content-type`, `user-agent`); if the header describes the connection or the length of the message
    /// (`host`, `content-length`, `connection` and others); or if the webhook has 32 headers already.
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

    /// Sets the secret that signs the reports to this webhook. The operator's secrets are not used for a webhook with
    /// its own secret.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        Arc::make_mut(&mut self.0).own.secret = Some(secret);
        self
    }

    /// Sets the form of the reports to this webhook. Without a call of this method, it is that of the endpoint in the
    /// settings, or `delivery.format`, or that of the poster.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        let headers = &mut Arc::make_mut(&mut self.0).own.headers;
        headers.insert(header::WEBHOOK_FORMAT, HeaderValue::from_static(format.as_str()));
        self
    }

    /// Returns the form that was set for the reports to this webhook.
    #[doc(hidden)]
    pub fn own_format(&self) -> Option<Format> {
        self.own().headers.get(header::WEBHOOK_FORMAT)?.to_str().ok()?.parse().ok()
    }

    /// Returns the URL to which the reports are sent.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    #[doc(hidden)]
    pub fn own(&self) -> &Own {
        &self.0.own
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_own(mut self, own: Own) -> Self {
        *self.own_mut() = own;
        self
    }

    #[doc(hidden)]
    pub fn own_mut(&mut self) -> &mut Own {
        &mut Arc::make_mut(&mut self.0).own
    }

    #[doc(hidden)]
    #[must_use]
    pub fn chosen_by(mut self, by: Option<Provenance>) -> Self {
        if self.own().chosen_by != by {
            self.own_mut().chosen_by = by;
        }
        self
    }

    /// Whether the operator chose the webhook.
    #[doc(hidden)]
    pub fn is_operator(&self) -> bool {
        self.own().chosen_by == Some(Provenance::Operator)
    }
}

/// `Debug` shows the URL without the parts that may hold a secret: query, fragment, and path segments that look like
/// tokens.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", Shown(self.url()))
    }
}

/// Whether a host name is valid. The rules are those of RFC 1035, but underscores are allowed, because underscores are
/// common.
///
/// The URL parser has already changed the name to ASCII and lower case. The parser accepts more characters than RFC
/// 1035, so this check is needed.
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

/// The reason why a URL or a header is not valid for a [`Webhook`]. The error message never contains the URL, because
/// the URL may contain a secret.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct WebhookError(#[from] Fault);

crate::line::debug_as_message!(WebhookError);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("the webhook URL cannot be parsed; use an absolute URL, such as https://example.com/hooks")]
    Syntax(#[source] url::ParseError),
    #[error("the webhook URL has the scheme `{scheme}`; use http or https")]
    Scheme { scheme: String },
    #[error("the webhook URL has a user name or password; set the header `authorization` on the webhook instead")]
    Credentials,
    #[error("the webhook URL has port 0, which does not accept connections; use another port")]
    Port,
    #[error(
        "the host of the webhook URL cannot be looked up: a name has parts of 1 to {MAX_LABEL} letters, digits, `-` and `_`, \
         separated by full stops, and at most {MAX_NAME} characters"
    )]
    Host,
    #[error("the webhook URL has a control character, such as a line break; remove it")]
    ControlCharacter,
    #[error("the webhook URL has {length} bytes; the limit is {MAX_URL} bytes")]
    TooLong { length: usize },
    #[error(
        "the header `{name}` cannot be set on a webhook: it is reserved, not valid in HTTP, or exceeds {MAX_HEADERS} headers"
    )]
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
        /// Tests that every URL that `Webhook::new` accepts can be parsed as a `Uri`. Every attempt needs a `Uri`.
        #[test]
        fn what_is_taken_can_be_called(host in "[a-z{}!|.]{1,4}|\\[::1\\]|a\\.b|\\PC{1,3}", rest in "([/?#]\\PC{0,8}|[/?#][ -~]{0,12}){0,3}") {
            if let Ok(webhook) = Webhook::new(format!("https://{host}{rest}")) {
                prop_assert!(Uri::try_from(webhook.url().as_str()).is_ok(), "{}", webhook.url());
            }
        }
    }
}

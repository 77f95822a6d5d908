//! A pattern for host names: a name, all names below a domain, or every name.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest host name, in bytes, by RFC 1035.
const MAX_NAME: usize = 253;

/// A pattern for host names: `example.com` for this name, `*.example.com` for the names below it, `*` for every name.
/// An IP address is a name, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct HostPattern {
    /// The name in lower case, without the dot at its end. Empty if `below` is true and every name matches.
    name: Box<str>,
    /// Whether names below `name` match, and `name` itself does not.
    below: bool,
}

impl HostPattern {
    /// Whether a host matches. The host is a name or an address, without a port. An IPv6 address may be in brackets.
    pub(crate) fn matches(&self, host: &str) -> bool {
        let host = plain(host);
        if !self.below {
            return host.eq_ignore_ascii_case(&self.name);
        }
        if self.name.is_empty() {
            return true;
        }
        let Some(at) = host.len().checked_sub(self.name.len()) else { return false };
        let (before, end) = (host.get(..at), host.get(at..));
        before.is_some_and(|before| before.len() > 1 && before.ends_with('.'))
            && end.is_some_and(|end| end.eq_ignore_ascii_case(&self.name))
    }
}

/// Removes the brackets of an IPv6 address, and the dot at the end of a full name.
fn plain(host: &str) -> &str {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host))
}

/// The error of a text that is not a pattern for host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host is a name without scheme and port, such as `example.com`, or `*.example.com` for the names below it")]
pub(crate) struct NotAHost;

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self { name: "".into(), below: true });
        }
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let name = plain(name);
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_name = name.len() <= MAX_NAME && name.split('.').all(is_label);
        if is_name || (!below && name.parse::<Ipv6Addr>().is_ok()) {
            Ok(Self { name: name.to_ascii_lowercase().into(), below })
        } else {
            Err(NotAHost)
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.below, &*self.name) {
            (true, "") => f.write_str("*"),
            (true, name) => write!(f, "*.{name}"),
            (false, name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = NotAHost;

    fn try_from(text: String) -> Result<Self, NotAHost> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_itself_and_a_star_matches_what_is_below() {
        let matches = |pattern: &str, host| pattern.parse::<HostPattern>().unwrap().matches(host);
        assert!(matches("Example.com.", "example.COM") && matches("example.com", "example.com."));
        assert!(!matches("example.com", "a.example.com") && !matches("example.com", "example.com.evil"));
        assert!(matches("*.example.com", "a.example.com") && matches("*.example.com", "a.b.EXAMPLE.com"));
        for other in ["example.com", ".example.com", "aexample.com", "a.example.com.evil", "", "ä.example.co"] {
            assert!(!matches("*.example.com", other), "{other}");
        }
        assert!(matches("*", "anything") && matches("10.0.0.7", "10.0.0.7") && matches("[::1]", "::1"));
        assert!(matches("::1", "[::1]"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in ["", "https://a", "a:80", "a/b", "*.", "*a", "a.*", "a..b", "a b", "*.::1", "ä"] {
            assert_eq!(wrong.parse::<HostPattern>(), Err(NotAHost), "{wrong}");
        }
        for text in ["*", "*.a.b", "a_b-c.d", "10.0.0.7", "::1"] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
    }
}

//! The `Prefer` header (RFC 7240): whether the client waits, and how long.

use std::time::Duration;

use http::HeaderMap;

/// The longest time for which a client can ask the server to wait for the outcome of a request. A longer wait would
/// often fail, because many proxies end an HTTP call after little more than a minute without data.
pub(super) const MAX_WAIT: Duration = Duration::from_mins(1);

/// The preferences that a client states in the header `Prefer`. Unknown preferences are ignored, as RFC 7240 demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preference {
    pub(super) respond_async: bool,
    pub(super) wait: Option<Duration>,
}

impl Preference {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut preference = Self::default();
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for token in values.flat_map(|value| value.split(',')) {
            // A preference may have parameters after a semicolon. The parameters are dropped, because `respond-async`
            // and `wait` have none.
            let token = token.split(';').next().unwrap_or_default().trim();
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            let value = value.trim().trim_matches('"');
            // If a client sends the same preference twice, the first one is used.
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => preference.respond_async = true,
                "wait" if preference.wait.is_none() => preference.wait = seconds(value),
                _ => {}
            }
        }
        preference
    }

    /// Returns the value of the answer's header `Preference-Applied`. Returns `None` if the client has stated no
    /// preference.
    pub(super) fn applied(self) -> Option<String> {
        let respond_async = self.respond_async.then(|| "respond-async".to_owned());
        let wait = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        let applied: Vec<_> = [respond_async, wait].into_iter().flatten().collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// Reads a text that is a whole number of seconds. Returns [`MAX_WAIT`] if the number is larger, however many digits it
/// has.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(MAX_WAIT, |seconds| Duration::from_secs(seconds).min(MAX_WAIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Preference {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", value.parse().unwrap());
        }
        Preference::of(&headers)
    }

    #[test]
    fn preferences_are_a_list_and_not_one_text() {
        let both = Preference { respond_async: true, wait: Some(Duration::from_secs(5)) };
        assert_eq!(of(&["respond-async, wait=5"]), both);
        assert_eq!(of(&["wait=\"5\"; x=1 , Respond-Async"]), both);
        assert_eq!(of(&["respond-async", "wait=5", "wait=9"]), both);
        assert_eq!(both.applied().unwrap(), "respond-async, wait=5");
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        assert_eq!(of(&["handling=lenient, wait=soon, respond-asynchronously"]), Preference::default());
        assert_eq!(of(&["wait=86400"]).wait, Some(MAX_WAIT));
        assert_eq!(of(&["wait=99999999999999999999"]).wait, Some(MAX_WAIT));
        assert_eq!(of(&["wait=-1"]).wait, None);
        assert_eq!(Preference::default().applied(), None);
    }
}

//! Shows a URL in logs, on terminals and in answers, without its secrets.

use std::fmt;

use url::Url;

/// The largest length of a path segment that is shown, in bytes. Longer path segments are shown as `…`.
const MAX_SEGMENT: usize = 40;
/// The largest number of letters in a word of a path that is shown. Words with more letters are rare in paths, but
/// tokens with more letters are common.
const MAX_WORD: usize = 20;
/// The largest number of digits in a path segment that is shown. The ids of most services have no more digits.
const MAX_DIGITS: usize = 20;
/// The largest number of digits at the end of a word that is shown, such as `v1` or `hook42`.
const MAX_SUFFIX: usize = 2;

/// Displays a URL without the parts that may hold a secret.
///
/// The hidden parts are the user name, the password, the query, the fragment, and each path segment that does not look
/// like words or a number. A hidden path segment is shown as `…`. Path segments may be secret, because at Slack,
/// Discord and many other services, everybody who knows a webhook's path can send messages to it.
///
/// Invariant: logs, terminals and API answers show a webhook's URL only through this type.
pub struct Shown<'a>(pub &'a Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        for segment in url.path().split('/').skip(1) {
            write!(f, "/{}", if is_pure(segment) { segment } else { "…" })?;
        }
        if url.query().is_some() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

/// Returns the text of a stored URL without the parts that may contain a secret.
pub fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "(not a URL)".to_owned(), |url| Shown(&url).to_string())
}

/// Whether a path segment consists only of words and numbers. A path segment of words and numbers is shown, because it
/// does not look like a secret token.
fn is_pure(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    segment.len() <= MAX_SEGMENT
        && digits <= MAX_DIGITS
        && segment.split(['-', '_', '.', '~']).all(|part| part.is_empty() || is_number(part) || is_word(part))
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a part of a path segment is a word: letters, followed by at most two digits. Upper-case letters are allowed
/// only at the beginning of words in camel case, or if all letters are upper-case: `sendMessage` and `API` are words,
/// but `sEnD` is not.
fn is_word(part: &str) -> bool {
    let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
    let suffix = part.len() - letters.len();
    if suffix > MAX_SUFFIX || letters.len() > MAX_WORD || !letters.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return false;
    }
    let is_upper = |c: char| c.is_ascii_uppercase();
    if letters.chars().all(is_upper) {
        return true;
    }
    // In camel case, each word must begin with a capital letter and have at least three letters. The first word may
    // begin with a lower-case letter, and must then have at least two letters.
    let humps = letters.split(is_upper).enumerate();
    humps
        .into_iter()
        .all(|(at, rest)| (at == 0 && (rest.is_empty() || rest.len() > 1)) || rest.len() > 1 || letters.len() == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(url: &str) -> String {
        Shown(&Url::parse(url).unwrap()).to_string()
    }

    #[test]
    fn what_may_be_secret_is_left_out() {
        assert_eq!(shown("https://u:pw@example.com:8443/hooks?token=s3cret#f"), "https://example.com:8443/hooks?…");
        assert_eq!(shown("https://example.com"), "https://example.com/");
        for (secret, expected) in [
            ("hooks.slack.com/services/T024BE7LD/B01ABCDEF/aBcDeFgHiJkLmNoPqRsTuVwX", "hooks.slack.com/services/…/…/…"),
            (
                "discord.com/api/webhooks/1012345678901234567/q-Zx9_kLmN0pQrStUvWxYz012345",
                "discord.com/api/webhooks/1012345678901234567/…",
            ),
            (
                "api.telegram.org/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage",
                "api.telegram.org/…/sendMessage",
            ),
            ("hook.eu1.make.com/yk2q8d7h5v0z3t1m9c6n4b8x2w5s7j1f", "hook.eu1.make.com/…"),
            ("hooks.zapier.com/hooks/catch/1234567/o3x2abc/", "hooks.zapier.com/hooks/catch/1234567/…/"),
            ("webhook.site/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "webhook.site/…"),
            ("example.com/in/12345678901234567890123456789012", "example.com/in/…"),
            ("example.com/in/5f4dcc3b5aa765d61d8327deb882cf99", "example.com/in/…"),
            ("example.com/in/abcdefghijklmnopqrstuvwxyz", "example.com/in/…"),
            ("example.com/in/ABCDEFGHIJKLMNOPQRSTUVWXYZ", "example.com/in/…"),
            ("example.com/in/aB-cD-eF-gH", "example.com/in/…"),
            ("example.com/key=s3cr3t/a%2Fb", "example.com/…/…"),
        ] {
            assert_eq!(shown(&format!("https://{secret}")), format!("https://{expected}"));
        }
    }

    #[test]
    fn words_and_numbers_are_shown() {
        for plain in [
            "hooks",
            "in/",
            "api/v1/webhook-events/orders_2024.json",
            "v10/sendMessage/IncomingWebhook",
            "customers/42/a/b2/X",
            "ORDERS/2024-11-26",
            "~user/us-east-1",
            "workspaces//acknowledgement",
        ] {
            assert_eq!(shown(&format!("https://example.com/{plain}")), format!("https://example.com/{plain}"));
        }
    }

    proptest! {
        /// Tests that a random token of 16 bytes or more, in hexadecimal or base64url, is not shown.
        #[test]
        fn a_random_token_is_not_shown(bytes in prop::collection::vec(any::<u8>(), 16..48)) {
            use base64::Engine as _;
            let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let hex: String = halves.map(|half| char::from_digit(u32::from(half), 16).unwrap()).collect();
            let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes);
            for token in [hex, base64] {
                // Proptest sometimes generates the same byte many times. The test ignores a token of only a few
                // different bytes, because such a token does not look random.
                let distinct = token.bytes().collect::<std::collections::HashSet<_>>().len();
                prop_assert!(distinct < 6 || !shown(&format!("https://example.com/{token}")).contains(&token), "{token}");
            }
        }
    }
}

//! Headers that carry credentials are not stored with a request.

use http::{HeaderMap, HeaderName};

/// Words that show that a header contains a credential. If the last word of a header's name is in this list, as in
/// `x-csrf-token` and `proxy-authorization`, the value of the header is a credential.
const WORDS: [&str; 16] = [
    "authorization",
    "authentication",
    "auth",
    "cookie",
    "cookie2",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "assertion",
    "jwt",
    "bearer",
    "otp",
];
/// Endings that show that a header contains a credential. If the name of a header ends with one of these texts, as in
/// `x-authtoken` and `apikey`, the value of the header is a credential.
const ENDINGS: [&str; 5] = ["token", "secret", "password", "apikey", "accesskey"];
/// Words that show that a header whose name ends with `key` contains no credential. The words stand before `key`, as in
/// `idempotency-key`, which only identifies something and gives no access. Every other header whose name ends with the
/// word `key`, such as `x-api-key`, has a credential as its value.
const PUBLIC_KEYS: [&str; 14] = [
    "idempotency",
    "cache",
    "surrogate",
    "routing",
    "partition",
    "sort",
    "ordering",
    "message",
    "group",
    "dedup",
    "deduplication",
    "object",
    "primary",
    "websocket",
];

/// Removes the headers with credentials from the headers of a request. The store stores the others.
pub(super) fn remove(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_credential(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

fn is_credential(name: &HeaderName) -> bool {
    let mut words = name.as_str().rsplit(['-', '_', '.']);
    let last = words.next().unwrap_or_default();
    if last == "key" {
        return words.next().is_none_or(|before| !PUBLIC_KEYS.contains(&before));
    }
    WORDS.contains(&last) || ENDINGS.iter().any(|ending| last.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_something_is_not_kept() {
        for name in [
            "authorization",
            "proxy-authorization",
            "x-forwarded-authorization",
            "cookie",
            "x-api-key",
            "api-key",
            "apikey",
            "x-apikey",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "x-access-key",
            "x-auth-token",
            "x-authtoken",
            "x-amz-security-token",
            "x-csrf-token",
            "private-token",
            "x-vault-token",
            "x-auth",
            "client-secret",
            "x_client_secret",
            "x-password",
            "x-goog-iap-jwt-assertion",
            "cf-access-jwt-assertion",
            "key",
        ] {
            assert!(is_credential(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn what_names_or_proves_something_is_kept() {
        for name in [
            "idempotency-key",
            "x-idempotency-key",
            "x-request-id",
            "content-type",
            "traceparent",
            "x-hub-signature-256",
            "webhook-signature",
            "x-partition-key",
            "x-monkey",
            "x-tokens-used",
            "x-key-id",
            "user-agent",
            "x-author",
            "accept-language",
            "sec-websocket-key",
        ] {
            assert!(!is_credential(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn a_header_with_several_values_keeps_them_in_their_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("authorization", "s"), ("x-a", "2"), ("x-api-key", "s"), ("b", "3")] {
            headers.append(name, value.parse().unwrap());
        }
        remove(&mut headers);
        let all: Vec<_> = headers.get_all("x-a").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((headers.len(), all), (3, vec!["1", "2"]));
    }
}

//! Looks for the reason why a signature does not match: signs what senders often sign by mistake, and compares.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::Key;
use postback_wire::line::hex;

/// The largest body for which mistakes are looked for, in bytes. Each try reads the body once.
const MAX_BODY: usize = 1 << 20;
const NONE: &str = "no signature matches, and none of the usual mistakes explains it: it was made with another secret, or \
                    the id, the time or the body were changed on the way";

/// Says why no signature matches.
pub(super) fn find(keys: &[Key], id: Option<&str>, time: Option<&str>, given: &[String], body: &[u8]) -> String {
    let (Some(id), Some(time)) = (id, time) else { return NONE.to_owned() };
    if body.len() > MAX_BODY {
        return "no signature matches; the body is too large to look for the reason".to_owned();
    }
    // Only the signatures of version v1 can be compared, because everyone who has the secret can make them.
    let given: Vec<&str> = given.iter().filter_map(|entry| entry.strip_prefix("v1,")).collect();
    for key in keys {
        let Key::Secret(secret) = key else { continue };
        let revealed = secret.reveal();
        let Some(encoded) = revealed.strip_prefix("whsec_") else { continue };
        let Ok(bytes) = STANDARD.decode(encoded) else { continue };
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body].concat();
        for (what, content) in contents(id, time, body) {
            if matches(&bytes, &content, &given) {
                return format!("the signature is of another text: {what}");
            }
        }
        for (what, wrong) in
            [("whole text of the secret, with whsec_,", revealed.as_str()), ("base64 text of the secret", encoded)]
        {
            if matches(wrong.as_bytes(), &signed, &given) {
                return format!(
                    "the {what} was used as the key; decode what follows whsec_ from base64, and use these bytes"
                );
            }
        }
        let hex = hex(mac(&bytes, &signed).as_ref());
        if given.iter().any(|given| given.eq_ignore_ascii_case(&hex)) {
            return "the signature is right, but in hexadecimal; encode it in base64".to_owned();
        }
    }
    NONE.to_owned()
}

fn mac(key: &[u8], content: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), content)
}

fn matches(key: &[u8], content: &[u8], given: &[&str]) -> bool {
    let made = STANDARD.encode(mac(key, content));
    // The key belongs to the person who looks at the page, so it does not matter how long the comparison takes.
    given.contains(&made.as_str())
}

/// What senders sign by mistake, and how it differs from what they should sign.
fn contents(id: &str, time: &str, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let head = format!("{id}.{time}.");
    let whole = |body: &[u8]| [head.as_bytes(), body].concat();
    let mut contents = vec![
        ("only the body; sign webhook-id.webhook-timestamp.body", body.to_vec()),
        ("webhook-timestamp.body; sign webhook-id.webhook-timestamp.body", [time.as_bytes(), b".", body].concat()),
        ("webhook-timestamp.webhook-id.body; the id comes first", [format!("{time}.{id}.").as_bytes(), body].concat()),
        ("an empty body; the body was lost before it was signed, or the signature was made too early", whole(b"")),
        ("the body with a line break at its end; sign the bytes that are sent", whole(&[body, b"\n"].concat())),
    ];
    if let Some(shorter) = body.strip_suffix(b"\n") {
        contents.push(("the body without the line break at its end; sign the bytes that are sent", whole(shorter)));
    }
    for (what, comma, colon) in [
        ("the same JSON without blanks; the body was serialised again after it was signed", ",", ":"),
        ("the same JSON with blanks; the body was serialised again after it was signed", ", ", ": "),
    ] {
        let other = respaced(body, comma, colon);
        if other != body {
            contents.push((what, whole(&other)));
        }
    }
    contents
}

/// Writes JSON with these separators and no other blanks between its tokens.
fn respaced(json: &[u8], comma: &str, colon: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for &byte in json {
        match byte {
            _ if in_text => {
                in_text = byte != b'"' || escaped;
                escaped = byte == b'\\' && !escaped;
                out.push(byte);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b',' => out.extend_from_slice(comma.as_bytes()),
            b':' => out.extend_from_slice(colon.as_bytes()),
            _ => {
                in_text = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_with_other_blanks() {
        let json = br#"{ "a, b\": \\": [1, 2],"c":  "x : y" }"#;
        assert_eq!(respaced(json, ",", ":"), br#"{"a, b\": \\":[1,2],"c":"x : y"}"#);
        assert_eq!(respaced(json, ", ", ": "), br#"{"a, b\": \\": [1, 2], "c": "x : y"}"#);
    }
}

//! Whether a path leads out of where it begins, to a receiver that decodes more than the URL standard does.

/// How often a path is decoded to see where it leads.
const DECODINGS: usize = 8;

/// The first bytes of forms that no sound decoder reads as a dot or a slash: `%u002e` and `%uff0e`, and characters in
/// more bytes than they take.
const MALFORMED_FORMS: [&[u8]; 4] = [b"%u00", b"%uff", b"%c0", b"%c1"];

/// Whether a `..` can be read out of what follows a trusted path. The parser has resolved the plain ones and `%2e%2e`.
/// Encoded slashes it leaves alone, some servers cut a segment at `;` first, and behind a proxy that decodes stands a
/// server that decodes again: so all is looked at after each round of decoding. What is not at its end after so many
/// rounds, or holds an unsound form, is taken for a climb.
pub(super) fn may_leave(path: &str) -> bool {
    let mut path = path.as_bytes().to_ascii_lowercase();
    for _ in 0..DECODINGS {
        if has_parent(&path) || MALFORMED_FORMS.iter().any(|form| path.windows(form.len()).any(|at| at == *form)) {
            return true;
        }
        let decoded = decoded(&path);
        if decoded == path {
            return false;
        }
        path = decoded;
    }
    true
}

fn has_parent(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let mut parts = segment.split(|byte| matches!(byte, b';' | b'?' | b'#' | b'\0'));
        parts.next().is_some_and(|name| name.trim_ascii() == b"..")
    })
}

/// One round: each `%` and two digits become a byte; a `%` without them stays.
fn decoded(path: &[u8]) -> Vec<u8> {
    let digit =
        |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|n| u8::try_from(n).ok());
    let mut bytes = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(path.get(at + 1)), digit(path.get(at + 2))) {
            bytes.push((16 * high + low).to_ascii_lowercase());
            at += 3;
        } else {
            bytes.push(*byte);
            at += 1;
        }
    }
    bytes
}

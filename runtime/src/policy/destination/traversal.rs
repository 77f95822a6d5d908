//! Detects path traversal. A path is a traversal if a receiver may resolve it to a path outside of the trusted path.
//! This happens if the receiver decodes more than the URL standard does.

/// The largest number of times that a path is decoded.
const DECODINGS: usize = 8;

/// Prefixes of encodings that only a broken decoder reads as a dot or a slash: `%u002e`, `%uff0e`, and overlong UTF-8.
const MALFORMED_FORMS: [&[u8]; 4] = [b"%u00", b"%uff", b"%c0", b"%c1"];

/// Whether a receiver may find a `..` segment in `path`, which is the part of a URL's path after the trusted path.
///
/// The URL parser has already resolved plain `..` and `%2e%2e`, but it does not decode encoded slashes. Some servers
/// first remove the part of a segment after `;`. A proxy may decode the path before the server decodes it again. So the
/// path is checked after each decoding. The result is also `true` if the path still changes after [`DECODINGS`]
/// decodings, or if it contains a malformed encoding.
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

/// Decodes a path once. Each `%` with two hexadecimal digits becomes one byte. A `%` without two digits stays
/// unchanged.
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

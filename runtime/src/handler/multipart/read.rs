//! Reads the parts of a body of `multipart/form-data` (RFC 7578), within bounds.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use super::{Content, IN_MEMORY, Part};
use crate::handler::body::PayloadError;

/// The largest number of parts.
const MAX_PARTS: usize = 1000;
/// The largest size of the headers of a part, in bytes.
const MAX_HEADERS: usize = 8 << 10;
/// The longest name of a part, and the longest file name, in bytes.
const MAX_NAME: usize = 255;
/// The longest boundary, in bytes (RFC 2046).
const MAX_BOUNDARY: usize = 70;
/// The body is given to the parser in pieces of this size, so that it is not copied twice at once.
const PIECE: usize = 64 << 10;

/// Returns the boundary between the parts, which the header `content-type` says.
pub(in crate::handler) fn boundary(headers: &HeaderMap) -> Result<String, PayloadError> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(text).ok().filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()));
    boundary.ok_or_else(|| {
        let what = format!("the header content-type has no `boundary=` of 1 to {MAX_BOUNDARY} characters");
        PayloadError::Parts(what)
    })
}

/// Reads all parts.
pub(super) fn parts(body: &[u8], boundary: String) -> Result<Vec<Part>, PayloadError> {
    // Invariant: the parser never waits, because the whole body is there.
    let read = all(body, boundary).now_or_never();
    read.unwrap_or_else(|| Err(PayloadError::Parts("it ends too early".to_owned())))
}

async fn all(body: &[u8], boundary: String) -> Result<Vec<Part>, PayloadError> {
    let pieces = body.chunks(PIECE).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    let mut multipart = multer::Multipart::new(stream::iter(pieces), boundary);
    let mut parts = Vec::new();
    loop {
        let number = parts.len() + 1;
        let Some(mut field) = multipart.next_field().await.map_err(|error| broken(&error, number))? else {
            return Ok(parts);
        };
        if parts.len() == MAX_PARTS {
            return Err(PayloadError::Parts(format!("it has more than {MAX_PARTS} parts")));
        }
        let head = head(field.headers()).map_err(|what| PayloadError::Parts(format!("part {number}: {what}")))?;
        let mut content = Bytes::new();
        while let Some(piece) = field.chunk().await.map_err(|error| broken(&error, number))? {
            // There is a second piece only if the first is empty.
            content = if content.is_empty() { piece } else { [content, piece].concat().into() };
        }
        parts.push(part(head, content)?);
    }
}

fn broken(error: &multer::Error, number: usize) -> PayloadError {
    use multer::Error as E;
    PayloadError::Parts(match error {
        E::IncompleteStream | E::IncompleteFieldData { .. } | E::IncompleteHeaders => {
            format!("part {number} is cut short, or the boundary after it is not that of the header content-type")
        }
        _ => format!("the headers of part {number} cannot be read"),
    })
}

/// What the headers of a part say.
struct Head {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
}

fn part(head: Head, content: Bytes) -> Result<Part, PayloadError> {
    let Head { name, file_name, content_type } = head;
    if file_name.is_none() {
        let wrong = |problem: String| PayloadError::Field { path: name.escape_debug().to_string(), problem };
        if content.len() > IN_MEMORY {
            return Err(wrong(format!(
                "the text has {} bytes, and {IN_MEMORY} are allowed; send it as a file",
                content.len()
            )));
        }
        if std::str::from_utf8(&content).is_err() {
            return Err(wrong("the text is not UTF-8; send other bytes as a file, which has a file name".to_owned()));
        }
    }
    Ok(Part { name, file_name, content_type, content: Content::Memory(content) })
}

fn head(headers: &HeaderMap) -> Result<Head, String> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MAX_HEADERS {
        return Err(format!("its headers have {size} bytes, and {MAX_HEADERS} are allowed"));
    }
    let text = |value: &HeaderValue| std::str::from_utf8(value.as_bytes()).map(str::to_owned);
    let disposition = headers.get(CONTENT_DISPOSITION).ok_or("it has no header content-disposition")?;
    let disposition = text(disposition).map_err(|_| "its header content-disposition is not UTF-8")?;
    let (name, file_name) = names(&disposition)?;
    let name = name.ok_or("its header content-disposition has no name")?;
    let file_name = file_name.map(|name| last_component(&name));
    for name in [Some(&name), file_name.as_ref()].into_iter().flatten() {
        if name.len() > MAX_NAME {
            return Err(format!("a name in it has {} bytes, and {MAX_NAME} are allowed", name.len()));
        }
    }
    let content_type = headers.get(CONTENT_TYPE).map(text).transpose().map_err(|_| "its content-type is not UTF-8")?;
    Ok(Head { name, file_name, content_type })
}

/// Reads the parameters `name` and `filename` of a header `content-disposition`.
fn names(disposition: &str) -> Result<(Option<String>, Option<String>), String> {
    let (kind, mut rest) = disposition.split_once(';').unwrap_or((disposition, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err("its header content-disposition is not `form-data`".to_owned());
    }
    let [mut name, mut extended_name, mut file_name, mut extended_file_name] = [const { None }; 4];
    while !rest.trim().is_empty() {
        let (key, after) = rest.split_once('=').ok_or("a parameter of its header content-disposition has no value")?;
        let (value, after) = value(after.trim_start())?;
        rest = after;
        let key = key.trim().to_ascii_lowercase();
        let (of, value) = match key.as_str() {
            "name" => (&mut name, value),
            "filename" => (&mut file_name, value),
            "name*" => (&mut extended_name, extended(&value)?),
            "filename*" => (&mut extended_file_name, extended(&value)?),
            _ => continue,
        };
        // Programs on the way may believe the first or the last one.
        if of.replace(value).is_some() {
            return Err(format!("its header content-disposition has `{key}` twice"));
        }
    }
    // Some clients write other characters than ASCII in the extended form (RFC 8187), perhaps beside a name in ASCII.
    Ok((extended_name.or(name), extended_file_name.or(file_name)))
}

/// Takes a value, which may be quoted, from the text. Returns it, and the text after the next semicolon.
fn value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return Ok((value.trim_end().to_owned(), rest));
    };
    let mut escaped = false;
    // Some clients write a path with backslashes, so a backslash stands for itself except before a quotation mark.
    let end = quoted.char_indices().find(|&(_, character)| {
        let is_end = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        is_end
    });
    let (end, _) = end.ok_or("a name in its header content-disposition has no quotation mark at its end")?;
    let rest = quoted[end + 1..].trim_start();
    let rest = if rest.is_empty() { Some("") } else { rest.strip_prefix(';') };
    let rest = rest.ok_or("its header content-disposition has text after a quotation mark")?;
    Ok((quoted[..end].replace("\\\"", "\""), rest))
}

/// Decodes a value such as `UTF-8''na%C3%AFve.txt`.
fn extended(value: &str) -> Result<String, String> {
    let (charset, text) = value
        .split_once('\'')
        .and_then(|(charset, rest)| Some((charset, rest.split_once('\'')?.1)))
        .unwrap_or_default();
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|_| charset.eq_ignore_ascii_case("utf-8"));
    decoded.map(String::from).ok_or_else(|| "a name in its header content-disposition is not UTF-8".to_owned())
}

/// Returns what is left of a file name: its last component, without control characters.
fn last_component(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let last: String = last.chars().filter(|character| !character.is_control()).collect();
    if matches!(last.as_str(), "." | "..") { String::new() } else { last }
}

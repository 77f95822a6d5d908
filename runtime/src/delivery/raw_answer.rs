//! Reads the head of an HTTP/1 answer from the connection's bytes, in addition to the HTTP client.
//!
//! The status decides what happens to a report, even if invalid header fields, contradicting lengths or a connection
//! reset follow. In each of these cases, the HTTP client rejects the whole answer. So the lines of the head are read
//! here too, and only the few lines that the delivery needs are checked.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::RETRY_AFTER;

use postback_wire::names;

/// The largest number of bytes that are kept of one line. The lines that the delivery needs are shorter.
const MAX_LINE: usize = 1_024;
/// The largest number of values of the header `webhook-delivery` that are kept of one answer.
const MAX_DIRECTIVES: usize = 8;

/// The part of an answer's head that has arrived so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// The values of the header `webhook-delivery`.
    pub(super) directives: Vec<String>,
}

/// The answer that arrives on one connection. All clones of this value share the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct RawAnswer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The `webhook-id` of the last request that was sent on the connection.
    webhook_id: Vec<u8>,
    line: Vec<u8>,
    part: Part,
    /// Whether the answer begins with a TLS alert.
    is_tls: bool,
    head: Option<Head>,
}

/// A part of an answer. [`State`] stores the part to which the next bytes belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    StatusLine,
    Fields,
    /// The body, or bytes that are not HTTP/1. These bytes are ignored.
    Rest,
}

impl RawAnswer {
    /// Reads the bytes that the client writes to the connection. If the bytes begin with the HTTP method, they are a
    /// new request and contain its whole head. In this case, the answer to the earlier request is forgotten.
    pub(super) fn written(&self, bytes: &[u8]) {
        if !bytes.starts_with(b"POST ") {
            return;
        }
        let Some(id) = webhook_id(bytes) else { return };
        let webhook_id = id.to_vec();
        *self.lock() = State { webhook_id, ..State::default() };
    }

    /// Reads the bytes that have arrived on the connection.
    pub(super) fn read(&self, bytes: &[u8]) {
        self.lock().read(bytes);
    }

    /// Returns the head of the answer to the report with this id, if the status line has arrived. A second call returns
    /// `None`.
    pub(super) fn take(&self, id: &str) -> Option<Head> {
        let mut state = self.lock();
        if state.webhook_id != id.as_bytes() {
            return None;
        }
        state.webhook_id.clear();
        state.head.take().filter(|head| head.status >= 200)
    }

    /// Whether the receiver sent TLS instead of an HTTP answer.
    pub(super) fn is_tls(&self) -> bool {
        self.lock().is_tls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(&mut self, mut bytes: &[u8]) {
        while self.part != Part::Rest && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if self.part == Part::StatusLine && self.head.is_none() && self.line.starts_with(&[21, 3]) {
                (self.is_tls, self.part) = (true, Part::Rest);
            }
            let Some(end) = end else { return };
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take_line(line.strip_suffix(b"\r").unwrap_or(&line));
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        match (self.part, &mut self.head) {
            (Part::StatusLine, _) if line.is_empty() => {}
            (Part::StatusLine, head) => match status(line) {
                Some(status) => {
                    *head = Some(Head { status, ..Head::default() });
                    self.part = Part::Fields;
                }
                None => self.part = Part::Rest,
            },
            // After an interim answer (1xx), another answer follows. After status 101, the bytes are not HTTP.
            (Part::Fields, Some(Head { status: 100 | 102..=199, .. })) if line.is_empty() => {
                self.part = Part::StatusLine;
            }
            (Part::Fields, Some(head)) if !line.is_empty() => head.take_field(line),
            _ => self.part = Part::Rest,
        }
    }
}

impl Head {
    fn take_field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        let Ok(value) = std::str::from_utf8(value) else { return };
        if name.eq_ignore_ascii_case(RETRY_AFTER.as_str().as_bytes()) {
            self.retry_after.get_or_insert_with(|| value.to_owned());
        } else if name.eq_ignore_ascii_case(names::header::WEBHOOK_DELIVERY.as_bytes())
            && self.directives.len() < MAX_DIRECTIVES
        {
            self.directives.push(value.to_owned());
        }
    }
}

/// Returns the status in a status line such as `HTTP/1.1 200 OK`. The text after the status may be missing.
fn status(line: &[u8]) -> Option<u16> {
    let [b'0'..=b'9', rest @ ..] = line.strip_prefix(b"HTTP/1.")? else { return None };
    let [b' ', ..] = rest else { return None };
    let rest = rest.trim_ascii_start();
    let (digits, after) = rest.split_at_checked(3)?;
    if !matches!(after.first(), None | Some(b' ')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| *status >= 100)
}

/// Returns the value of the header `webhook-id` in a request that the client has written.
fn webhook_id(request: &[u8]) -> Option<&[u8]> {
    let mut head = request.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let value = head
        .by_ref()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix(names::header::WEBHOOK_ID.as_bytes())?.strip_prefix(b":"));
    value.map(<[u8]>::trim_ascii)
}

/// Whether the error means that the receiver has closed the connection. The bytes that the receiver sent before it
/// closed the connection can still be read, and may be an answer.
pub(super) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"POST /in HTTP/1.1\r\nhost: a\r\nwebhook-id: 1\r\n\r\nPOST \r\nwebhook-id: 2\r\n";

    fn received(answer: &[u8]) -> Option<Head> {
        let (whole, bytewise) = (RawAnswer::default(), RawAnswer::default());
        whole.written(REQUEST);
        bytewise.written(REQUEST);
        whole.read(answer);
        for byte in answer.chunks(1) {
            bytewise.read(byte);
        }
        assert_eq!(whole.take("2"), None, "the request has id 1");
        let head = whole.take("1");
        assert_eq!(head, bytewise.take("1"));
        assert_eq!(whole.take("1"), None, "an answer is taken once");
        head
    }

    fn status_of(answer: &str) -> Option<u16> {
        received(answer.as_bytes()).map(|head| head.status)
    }

    #[test]
    fn a_status_line_counts_whatever_follows() {
        for answer in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.0 200 OK\n",
            "HTTP/1.1  200 \r\n: empty\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\na: \0\r\n",
            "\r\nHTTP/1.1 200 OK\r\n",
        ] {
            assert_eq!(status_of(answer), Some(200), "{answer:?}");
        }
        for answer in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/2.0 200 OK\r\n",
            "HTTP/1.1 abc\r\n",
            "HTTP/1.1200 OK\r\n",
            "hello\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(status_of(answer), None, "{answer:?}");
        }
        assert_eq!(status_of("HTTP/1.1 500 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Some(500), "that is its body");
    }

    #[test]
    fn of_the_fields_those_are_read_that_count() {
        let head = received(
            b"HTTP/1.1 503 X\r\nx y: 1\r\nRetry-After : 90\r\nwebhook-delivery: disable\r\n\r\nretry-after: 1\r\n",
        );
        let expected = Head { status: 503, retry_after: Some("90".into()), directives: vec!["disable".into()] };
        assert_eq!(head, Some(expected));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let raw_answer = RawAnswer::default();
        raw_answer.written(REQUEST);
        raw_answer.read(b"HTTP/1.1 200 OK\r\n");
        raw_answer.read(b"webhook-delivery: x\r\n".repeat(1_000).as_slice());
        raw_answer.read(&vec![b'x'; 1 << 20]);
        let state = raw_answer.lock();
        assert_eq!((state.line.len(), state.head.as_ref().unwrap().directives.len()), (MAX_LINE, MAX_DIRECTIVES));
    }

    #[test]
    fn the_answer_to_another_request_is_not_taken_for_this_ones() {
        let raw_answer = RawAnswer::default();
        raw_answer.written(b"POST /in HTTP/1.1\r\nwebhook-id: 1\r\n\r\n");
        raw_answer.read(b"HTTP/1.1 200 OK\r\n\r\n");
        raw_answer.written(b"POST /in HTTP/1.1\r\nwebhook-id: 2\r\n\r\n");
        assert_eq!(raw_answer.take("2"), None);
    }

    #[test]
    fn tls_is_told_from_http() {
        let raw_answer = RawAnswer::default();
        raw_answer.written(REQUEST);
        raw_answer.read(&[21, 3, 3, 0, 2, 2, 10]);
        assert!(raw_answer.is_tls() && raw_answer.take("1").is_none());
    }
}

//! Trace context (W3C Trace Context, level 2): which trace a request belongs to, so that its webhooks continue it.

use std::fmt;

use http::HeaderMap;

/// The name of the header with the trace and the span that caused a message.
pub const TRACEPARENT: &str = "traceparent";
/// The name of the header with what tracing systems add to `traceparent`.
pub const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that is kept, in bytes. The specification asks for at least this length.
const MAX_TRACESTATE: usize = 512;
/// The flag that says that the caller may record the trace.
const SAMPLED: u8 = 1;

/// The value of the header `traceparent`, in its version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Makes the start of a trace. The flag *sampled* is set: with it a receiver records the webhook's trace, as it does
    /// with calls that have no trace; without it most tracing systems drop the trace.
    pub fn fresh(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self { trace, span, flags: SAMPLED }
    }

    /// Makes the value for a span of a trace. Returns `None` if the specification calls the ids invalid.
    pub fn new(trace: [u8; 16], span: [u8; 8], flags: u8) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags: flags & 3 })
    }

    /// Returns the ids of the trace and of the span, and the flags.
    pub fn parts(self) -> ([u8; 16], [u8; 8], u8) {
        (self.trace, self.span, self.flags)
    }

    /// Parses a header value. Returns `None` if the specification calls the value invalid: the trace then starts anew. A
    /// value of a later version is read as far as version 00 defines it.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, mut rest) = text.as_bytes().split_at_checked(2)?;
        let mut part = |len: usize| {
            let (part, after) = rest.strip_prefix(b"-")?.split_at_checked(len)?;
            rest = after;
            Some(part)
        };
        let (trace, span, flags) = (part(32)?, part(16)?, part(2)?);
        let [version] = bytes(version)?;
        let fits = rest.is_empty() || version != 0 && rest.starts_with(b"-");
        let (trace, span, [flags]) = (bytes(trace)?, bytes(span)?, bytes(flags)?);
        if version == 0xff || !fits {
            return None;
        }
        Self::new(trace, span, flags)
    }

    /// Returns the same trace, continued by another span.
    #[must_use]
    pub fn child(self, span: [u8; 8]) -> Self {
        Self { span, ..self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// Returns the values of `traceparent` and `tracestate` that a caller sent. An invalid trace is dropped, as the
/// specification asks for: the trace then starts anew.
pub fn of(headers: &HeaderMap) -> (Option<Box<str>>, Option<Box<str>>) {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return (None, None) };
    let parent = parent.to_str().map(str::trim).ok().filter(|parent| TraceParent::parse(parent).is_some());
    let Some(parent) = parent else { return (None, None) };
    let states = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok());
    let state = states.collect::<Vec<_>>().join(",");
    (Some(parent.into()), is_tracestate(&state).then(|| state.into()))
}

/// Whether the text can be sent on as `tracestate`. What the text says is not checked: only tracing systems know.
pub fn is_tracestate(text: &str) -> bool {
    let is_printable = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    !text.is_empty() && text.len() <= MAX_TRACESTATE && text.bytes().all(is_printable)
}

fn bytes<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        // The specification allows lower-case letters only.
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued_by_another_span() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.child([1; 8]).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01");
        let fresh = TraceParent::fresh([0x0a; 16], [0xb0; 8]).to_string();
        assert_eq!(fresh, "00-0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a-b0b0b0b0b0b0b0b0-01");
        assert_eq!(TraceParent::parse(&fresh).unwrap().to_string(), fresh);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in ["01", "cc"] {
            let text = GOOD.replacen("00", later, 1);
            assert_eq!(TraceParent::parse(&text).unwrap().to_string(), GOOD);
            assert!(TraceParent::parse(&format!("{text}-more")).is_some());
            assert!(TraceParent::parse(&format!("{text}more")).is_none());
        }
    }

    #[test]
    fn what_the_specification_calls_invalid_is_not_read() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf", "4bg"),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tracestate_is_printable_and_short() {
        assert!(is_tracestate("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
        assert!(!is_tracestate("") && !is_tracestate("a=\u{1}") && !is_tracestate("a=é"));
        assert!(is_tracestate(&"a".repeat(512)) && !is_tracestate(&"a".repeat(513)));
    }
}

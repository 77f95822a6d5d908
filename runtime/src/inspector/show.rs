//! A webhook as a person reads it. Whatever came from outside is escaped: it goes to a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use http::request::Parts;
use serde_json::Value;

use crate::line::Escaped;
use crate::names::header;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const KEY: Style = AnsiColor::Cyan.on_default();
const TEXT: Style = AnsiColor::Green.on_default();
const NUMBER: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Lines that are shown of a body; what is left out is said.
const MAX_LINES: usize = 60;

/// Describes a webhook, ending in a line break.
pub(super) fn webhook(head: &Parts, body: &[u8]) -> String {
    let mut out = String::new();
    let json = serde_json::from_slice::<Value>(body).ok();
    let member = |key: &str| json.as_ref().and_then(|json| json.get(key)?.as_str()).unwrap_or_default();
    let style = match member("status") {
        "completed" => GOOD,
        "failed" | "cancelled" => BAD,
        _ => BOLD,
    };
    let header_text =
        |name: &str| head.headers.get(name).map(|value| printable(&String::from_utf8_lossy(value.as_bytes())));
    let signed = match header_text(header::WEBHOOK_SIGNATURE) {
        Some(signature) => format!("signed {}", signature.split(',').next().unwrap_or_default()),
        None => "unsigned".to_owned(),
    };
    let path = printable(head.uri.path());
    let (status, id) = (printable(member("status")), printable(member("id")));
    // Writing to a String cannot fail.
    let _ =
        writeln!(out, "\n{BOLD}webhook{BOLD:#} {} {path}  {style}{status}{style:#} {BOLD}{id}{BOLD:#}", head.method);
    let report = header_text(header::WEBHOOK_ID).unwrap_or_else(|| "none".to_owned());
    let _ = writeln!(out, "{DIM}        webhook-id {report} · {signed} · {} bytes{DIM:#}", body.len());
    let text = String::from_utf8_lossy(body);
    let lines = if json.is_some() { pretty(&text) } else { printable(&text) };
    let total = lines.lines().count();
    for line in lines.lines().take(MAX_LINES) {
        let _ = writeln!(out, "        {line}");
    }
    if total > MAX_LINES {
        let _ = writeln!(out, "        {DIM}… {} more lines{DIM:#}", total - MAX_LINES);
    }
    out
}

/// JSON, indented and coloured, with its members in the order that they came in. The text is known to be JSON.
fn pretty(json: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    let mut rest = json.trim_start();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                out.push_str(if first == '{' { "{}" } else { "[]" });
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                out.push(first);
                depth += 1;
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            // Writing to a String cannot fail.
            '"' if rest.starts_with(':') => drop(write!(out, "{KEY}{}{KEY:#}", short(token))),
            '"' => drop(write!(out, "{TEXT}{}{TEXT:#}", short(token))),
            _ => drop(write!(out, "{NUMBER}{token}{NUMBER:#}")),
        }
    }
    out
}

/// The length in bytes of the JSON string that this begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A token for the terminal; long ones, such as files in base64, are cut short.
fn short(token: &str) -> String {
    const MAX: usize = 400;
    let Some((at, _)) = token.char_indices().nth(MAX) else { return printable(token) };
    let left = token[at..].chars().count();
    format!("{} … {left} more characters", printable(&token[..at]))
}

/// Without anything that a terminal would obey; line breaks stay.
fn printable(text: &str) -> String {
    text.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &[u8]) -> String {
        let (head, ()) = http::Request::post("/hook?x=1").header("webhook-id", "r-1").body(()).unwrap().into_parts();
        anstream::adapter::strip_str(&webhook(&head, body)).to_string()
    }

    #[test]
    fn a_webhook_is_shown_with_what_it_says() {
        let text = shown(br#"{"id":"q-1","status":"completed","result":{"data":"hello"},"timestamp":"t"}"#);
        assert!(text.contains("webhook POST /hook  completed q-1"), "{text}");
        assert!(text.contains("webhook-id r-1 · unsigned"), "{text}");
        assert!(text.contains("          \"result\": {\n            \"data\": \"hello\"\n"), "{text}");
    }

    #[test]
    fn members_stay_in_their_order_and_text_as_it_is() {
        let text = shown(br#" {"z":[ ],"a":{"k":"a \\ \" b,{","e":{}},"n":[-1.50e3,true,null]} "#);
        let expected = [
            "{",
            "  \"z\": [],",
            "  \"a\": {",
            "    \"k\": \"a \\\\ \\\" b,{\",",
            "    \"e\": {}",
            "  },",
            "  \"n\": [",
            "    -1.50e3,",
            "    true,",
            "    null",
            "  ]",
            "}",
        ];
        let lines: Vec<_> =
            text.lines().skip(3).map(|line| line.trim_end().strip_prefix("        ").unwrap()).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        for body in [&b"\x1b[2Jgone\x07"[..], br#"{"id":"\u001b[2J\u0007\u202e","status":"\u009b"}"#] {
            let (head, ()) = http::Request::post("/").body(()).unwrap().into_parts();
            let text = webhook(&head, body);
            assert!(!text.contains("\x1b[2J") && !text.contains(['\x07', '\u{9b}', '\u{202e}']), "{text:?}");
        }
    }

    #[test]
    fn large_bodies_are_cut_short() {
        let many = serde_json::to_vec(&vec![1; 500]).unwrap();
        assert!(shown(&many).contains("more lines"));
        let long = serde_json::to_vec(&"x".repeat(5_000)).unwrap();
        assert!(shown(&long).contains("4602 more characters"));
    }
}

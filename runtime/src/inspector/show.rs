//! Shows a webhook as text for a person. Text from outside is escaped, because the result goes to a terminal.

pub(super) mod line;
mod report;

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde::de::IgnoredAny;

pub(super) use self::report::Report;
use super::hit::Hit;
use postback_wire::line::Escaped;
use postback_wire::names::header;
use postback_wire::report::Format;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const KEY: Style = AnsiColor::Cyan.on_default();
const TEXT: Style = AnsiColor::Green.on_default();
const NUMBER: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The largest number of lines of a body that are shown. If the body has more lines, the number of the remaining lines
/// is shown.
const MAX_LINES: usize = 60;
/// The largest number of characters of one line that are shown, if the body is not JSON.
const MAX_LINE: usize = 1_000;
/// The largest number of characters of one string or number in JSON that are shown.
const MAX_TEXT: usize = 400;
/// The largest number of signature versions, such as `v1`, that are shown.
const MAX_VERSIONS: usize = 4;
/// The largest number of characters of one signature version that are shown.
const MAX_VERSION: usize = 16;
/// The largest depth of nested JSON values for which lines are indented further. Deeper lines have the same indentation
/// as lines at this depth.
const MAX_DEPTH: usize = 32;

/// Makes the text that is printed for a webhook. The text ends with a line break.
pub(super) fn webhook(hit: &Hit) -> String {
    let (headers, body) = (&hit.headers, &hit.body[..]);
    let mut out = String::new();
    let json = serde_json::from_slice::<IgnoredAny>(body).is_ok().then(|| std::str::from_utf8(body).ok()).flatten();
    let style = of_status(&hit.status);
    let header_text = |name: &str| headers.get(name).map(|value| printable(&String::from_utf8_lossy(value.as_bytes())));
    let signed = match header_text(header::WEBHOOK_SIGNATURE) {
        Some(signatures) => signed(&signatures),
        None => "unsigned".to_owned(),
    };
    let path = printable(hit.uri.path());
    let (status, id) = (printable(&hit.status), printable(&hit.id));
    // The result of `write!` is ignored, because writing to a `String` cannot fail.
    let _ = writeln!(out, "\n{BOLD}webhook{BOLD:#} {} {path}  {style}{status}{style:#} {BOLD}{id}{BOLD:#}", hit.method);
    let report = header_text(header::WEBHOOK_ID).unwrap_or_else(|| "none".to_owned());
    let form = other_form(hit).map(|form| format!(" · {form}")).unwrap_or_default();
    let _ = writeln!(out, "{DIM}        webhook-id {report} · {signed} · {} bytes{form}{DIM:#}", body.len());
    let Shown { text, more } = match json {
        Some(json) => pretty(json),
        None => plain(body),
    };
    for line in text.lines() {
        let _ = writeln!(out, "        {line}");
    }
    if more > 0 {
        let _ = writeln!(out, "        {DIM}… {more} more lines{DIM:#}");
    }
    out
}

/// Returns the form of the report, if it is not the usual one.
fn other_form(hit: &Hit) -> Option<Format> {
    hit.form.filter(|form| *form != Format::default())
}

fn of_status(status: &str) -> Style {
    match status {
        "completed" | "succeeded" | "COMPLETED" | "OK" => GOOD,
        "failed" | "cancelled" | "canceled" | "FAILED" | "TIMED_OUT" | "CANCELLED" | "ERROR" => BAD,
        _ => BOLD,
    }
}

/// Makes the text that shows the versions of the signatures, such as `signed v1`. While a secret is being rotated, the
/// text may be `signed v1 twice, v1a`. Shows at most the first [`MAX_VERSIONS`] versions.
fn signed(signatures: &str) -> String {
    let mut versions: Vec<(&str, usize)> = Vec::new();
    let mut unnamed = 0;
    for signature in signatures.split_ascii_whitespace() {
        let version = signature.split(',').next().unwrap_or_default();
        match versions.iter().position(|(known, _)| *known == version) {
            Some(at) => versions[at].1 += 1,
            None if versions.len() < MAX_VERSIONS => versions.push((version, 1)),
            None => unnamed += 1,
        }
    }
    if versions.is_empty() {
        return "signed with nothing".to_owned();
    }
    let named = versions.iter().map(|(version, times)| match times {
        1 => short(version, MAX_VERSION),
        2 => format!("{} twice", short(version, MAX_VERSION)),
        times => format!("{} {times} times", short(version, MAX_VERSION)),
    });
    let more = if unnamed > 0 { format!(" and {unnamed} more") } else { String::new() };
    format!("signed {}{more}", named.collect::<Vec<_>>().join(", "))
}

/// The text of the lines of a body that are shown, and the number of lines that are not shown.
struct Shown {
    text: String,
    more: usize,
}

/// Makes the text that is shown for a body that is not JSON.
fn plain(body: &[u8]) -> Shown {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let lines = if body.is_empty() { 0 } else { body.split(|byte| *byte == b'\n').count() };
    let shown = body.split(|byte| *byte == b'\n').take(MAX_LINES).map(|line| {
        // Only the start of a long line is converted. A character has at most four bytes, so the start is long enough
        // for `MAX_LINE` characters.
        let begin = &line[..line.len().min(4 * MAX_LINE)];
        short(&String::from_utf8_lossy(begin), MAX_LINE)
    });
    Shown { text: shown.collect::<Vec<_>>().join("\n"), more: lines.saturating_sub(MAX_LINES) }
}

/// Makes the text that is shown for a JSON body, indented and coloured. The members stay in the same order. `json` must
/// be valid JSON.
fn pretty(json: &str) -> Shown {
    let mut page = Page { text: String::new(), lines: 1, depth: 0 };
    let mut rest = json.trim_start();
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
                page.write(format_args!("{}", if first == '{' { "{}" } else { "[]" }));
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                page.write(format_args!("{first}"));
                page.depth += 1;
                page.line();
            }
            '}' | ']' => {
                page.depth = page.depth.saturating_sub(1);
                page.line();
                page.write(format_args!("{first}"));
            }
            ',' => {
                page.write(format_args!(","));
                page.line();
            }
            ':' => page.write(format_args!(": ")),
            _ if page.is_full() => {}
            '"' if rest.starts_with(':') => page.write(format_args!("{KEY}{}{KEY:#}", short(token, MAX_TEXT))),
            '"' => page.write(format_args!("{TEXT}{}{TEXT:#}", short(token, MAX_TEXT))),
            _ => page.write(format_args!("{NUMBER}{}{NUMBER:#}", short(token, MAX_TEXT))),
        }
    }
    Shown { text: page.text, more: page.lines.saturating_sub(MAX_LINES) }
}

/// Collects the first [`MAX_LINES`] lines of a body, and counts the further lines.
struct Page {
    text: String,
    lines: usize,
    depth: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.lines > MAX_LINES
    }

    fn line(&mut self) {
        self.lines += 1;
        self.write(format_args!("\n{}", "  ".repeat(self.depth.min(MAX_DEPTH))));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        if !self.is_full() {
            // The result of `write_fmt` is ignored, because writing to a `String` cannot fail.
            let _ = self.text.write_fmt(text);
        }
    }
}

/// Returns the length, in bytes, of the JSON string at the start of `text`. The length includes the quotes.
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

/// Prepares a text for the terminal. If the text has more than `most` characters, leaves out the rest. For example, a
/// file in base64 may be that long.
pub(super) fn short(text: &str, most: usize) -> String {
    let Some((at, _)) = text.char_indices().nth(most) else { return printable(text) };
    let left = text[at..].chars().count();
    format!("{} … {left} more characters", printable(&text[..at]))
}

/// Escapes all characters that a terminal would interpret as commands. Line breaks stay unchanged.
fn printable(text: &str) -> String {
    text.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;

//! Shows a webhook as one line: for a person, or as JSON for a script.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{BAD, BOLD, DIM, GOOD, of_status, other_form, short};
use crate::inspector::hit::{Answered, Hit};
use crate::inspector::signature::Verdict;
use postback_wire::time::Spoken;

/// The longest path, id or reason that a line shows, in characters.
const MAX_TEXT: usize = 100;

/// Makes a line for a person. If the signature is wrong, a second line says why. The text ends with a line break.
pub(in crate::inspector) fn compact(hit: &Hit, answer: &Answered) -> String {
    let text = |text: &str| short(text, MAX_TEXT);
    let time = hit.received.to_string();
    let mut out = String::new();
    // The results of `write!` are ignored, because writing to a `String` cannot fail.
    let _ =
        write!(out, "{DIM}{}{DIM:#} {} {BOLD}{}{BOLD:#}", &time[11..19.min(time.len())], hit.method, text(hit.path()));
    if !hit.status.is_empty() {
        let style = of_status(&hit.status);
        let _ = write!(out, "  {style}{}{style:#}", text(&hit.status));
    }
    if !hit.id.is_empty() {
        let _ = write!(out, " {}", text(&hit.id));
    }
    let _ = write!(out, "  {} bytes", hit.body.len());
    if let Some(form) = other_form(hit) {
        let _ = write!(out, "  {form}");
    }
    if hit.attempt > 1 {
        let _ = write!(out, "  attempt {}", hit.attempt);
    }
    let verdict = hit.signature.verdict;
    let style = match verdict {
        Verdict::Valid => GOOD,
        Verdict::Invalid => BAD,
        Verdict::Unsigned | Verdict::Unchecked => DIM,
    };
    let shown = match verdict {
        Verdict::Unchecked => "signature unchecked".to_owned(),
        Verdict::Unsigned => "unsigned".to_owned(),
        Verdict::Valid | Verdict::Invalid => format!("signature {}", verdict.name()),
    };
    let _ = write!(out, "  {style}{shown}{style:#}");
    let answered = answer.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let style = if answer.status.is_some_and(|status| status < 300) { GOOD } else { BAD };
    let _ = write!(out, "  {style}{answered}{style:#} {DIM}in {}{DIM:#}", Spoken(answer.after));
    if !answer.what.is_empty() {
        let _ = write!(out, " {DIM}({}){DIM:#}", text(&answer.what));
    }
    out.push('\n');
    if let Some(wrong) = hit.signature.wrong().filter(|_| verdict == Verdict::Invalid) {
        let _ = writeln!(out, "         {BAD}{}{BAD:#}", short(wrong, 400));
    }
    if let Some(problem) = hit.problem {
        let _ = writeln!(out, "         {BAD}{problem}{BAD:#}");
    }
    out
}

/// Makes a line of JSON with everything about a webhook. The body is text in `body`, or base64 in `body_base64` if it is
/// not UTF-8. The text ends with a line break.
pub(in crate::inspector) fn json(hit: &Hit, answer: &Answered) -> String {
    let mut line = hit.detail(Some(answer));
    match std::str::from_utf8(&hit.body) {
        Ok(text) => line["body"] = text.into(),
        Err(_) => line["body_base64"] = STANDARD.encode(&hit.body).into(),
    }
    // JSON may contain some characters that a terminal obeys. In JSON they can be written as escapes.
    let mut out = String::new();
    for c in line.to_string().chars() {
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

//! Formats errors, bytes and text from outside so that they fit into one line of a log.

use std::error::Error;
use std::fmt::{self, Write as _};

/// Displays an error and its causes in one line, as `error: cause: cause of the cause`. Errors of this crate do not
/// repeat their cause in their own message.
pub struct Causes<'a>(pub &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // This check is needed because some errors of other crates repeat their cause in their own message.
            if !text.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

/// Returns the hexadecimal digits of these bytes, in lower case.
pub fn hex_digits(bytes: &[u8]) -> impl Iterator<Item = char> + '_ {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.iter().flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

/// Returns the hexadecimal digits of these bytes as a text.
pub fn hex(bytes: &[u8]) -> String {
    hex_digits(bytes).collect()
}

/// Implements `Debug` for a public error type. `Debug` then shows the error's message and its causes, as [`Causes`]
/// does.
///
/// `unwrap` and a `main` that returns `Result<(), Box<dyn Error>>` print errors with `Debug`. A derived `Debug` would
/// show the user the names of private variants.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_message {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&$crate::line::Causes(self), f)
            }
        }
    )+};
}
pub use debug_as_message;

/// Displays a text that the program did not make, so that the text stays on one line and cannot control a terminal.
///
/// Control characters, and characters that reorder or hide text, are written as escapes such as `\n` and `\u{1b}`.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaping(f).write_str(self.0)
    }
}

/// A writer that passes text to the writer `W`. Control characters, and characters that reorder or hide text, are
/// passed as escapes such as `\n`. All other characters are passed unchanged.
pub struct Escaping<W>(pub W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_dangerous) {
            let (before, tail) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                // `escape_debug` does not escape all dangerous characters, so this code uses it only for `\n`, `\r` and
                // `\t`.
                match c {
                    '\n' | '\r' | '\t' => write!(self.0, "{}", c.escape_debug())?,
                    _ => write!(self.0, "{}", c.escape_unicode())?,
                }
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

fn is_dangerous(c: char) -> bool {
    // The following characters are dangerous: control characters; separators of lines and paragraphs; marks, embeddings
    // and isolates of bidirectional text; and characters without width.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer one")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the inner one: {0}")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn a_chain_is_one_line_that_says_nothing_twice() {
        let error = Outer(Inner(std::io::Error::other("the root")));
        assert_eq!(Causes(&error).to_string(), "the outer one: the inner one: the root");
    }

    #[test]
    fn nothing_that_commands_a_terminal_gets_through() {
        let said = Escaped("a\u{1b}[31mb\nc\td\u{7}\u{9b}\u{202e}e\u{200b}ü→").to_string();
        assert_eq!(said, r"a\u{1b}[31mb\nc\td\u{7}\u{9b}\u{202e}e\u{200b}ü→");
    }
}

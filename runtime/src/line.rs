//! How an error, and any text from outside, is put into one line.

use std::error::Error;
use std::fmt::{self, Write as _};

/// Displays an error together with its causes, as `a: b: c`: no error here repeats its source in its own text.
pub(crate) struct Causes<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let said = error.to_string();
            // Not all foreign errors leave their source out of their own message.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

/// Implements `Debug` for public errors: the message with its causes, as `Display` and [`Causes`] give it.
///
/// `fn main() -> Result<(), Box<dyn Error>>` and `unwrap` print errors by `Debug`. There a user reads what the variants are
/// called inside this crate, unless `Debug` says what `Display` does.
macro_rules! debug_as_message {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&$crate::line::Causes(self), f)
            }
        }
    )+};
}
pub(crate) use debug_as_message;

/// Displays text from outside so that it can neither break the line nor command the terminal: control characters, and
/// those that reorder or hide text, are written as escapes such as `\n` and `\u{1b}`.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaping(f).write_str(self.0)
    }
}

/// The same for what is written into it.
pub(crate) struct Escaping<W>(pub(crate) W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_dangerous) {
            let (before, tail) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                // Not all of them are escaped by `escape_debug`.
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
    // Line and paragraph separators; the marks, embeddings and isolates of bidirectional text; what has no width.
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

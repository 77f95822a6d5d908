//! Prints to standard output and standard error, with colours only if they are a terminal.

use std::io::{self, Write as _};

/// Prints a text to standard output. Errors are ignored, so that this program continues even if the program that reads
/// its output has ended.
pub(crate) fn print(text: &str) {
    let _ = write!(anstream::stdout().lock(), "{text}");
}

/// Prints the result of a command to standard output. An error must end the command with an exit code of its own.
/// Otherwise a script would continue with half a list.
pub(crate) fn print_result(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints advice for a person to standard error, so that standard output has only what a script reads.
pub(crate) fn print_note(text: &str) {
    let _ = write!(anstream::stderr().lock(), "{text}");
}

/// Prints an error to standard error.
pub(crate) fn print_error(text: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr().lock(), "{style}error{style:#}: {text}");
}

//! Writing to the terminal, with colours only where there is one.

use std::io::Write as _;

/// To standard output. That nobody reads it is no reason to stop.
pub(crate) fn print(text: &str) {
    let _ = write!(anstream::stdout().lock(), "{text}");
}

/// A mistake, to standard error.
pub(crate) fn print_error(text: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr().lock(), "{style}error{style:#}: {text}");
}

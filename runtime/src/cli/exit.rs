//! The exit codes of the program: one table, which the program prints, the man page has, and the guide repeats.

use std::fmt::Write as _;

/// The command has done what it was asked for.
pub(crate) const DONE: u8 = 0;
/// The command has failed.
pub(crate) const FAILED: u8 = 1;
/// A mistake in the command line, in the settings or in the routes.
pub(crate) const MISTAKE: u8 = 2;
/// The output cannot be written.
pub(crate) const NO_OUTPUT: u8 = 3;
/// A second signal ended the stop of a server.
pub(crate) const SECOND_SIGNAL: u8 = 130;
/// The program that reads the output has ended. Shells give the same code to a program that the signal SIGPIPE ends.
pub(crate) const PIPE_CLOSED: u8 = 141;

/// All exit codes, each with what it means.
const TABLE: &[(u8, &str)] = &[
    (DONE, "done; of a server: stopped by a signal"),
    (FAILED, "failed; standard error says why"),
    (MISTAKE, "a mistake in the command line, in the settings or in the routes"),
    (NO_OUTPUT, "standard output cannot be written, for example because the disk is full"),
    (SECOND_SIGNAL, "a second signal ended a server before it had stopped"),
    (PIPE_CLOSED, "the program that reads standard output has ended; nothing is said about it"),
];

/// Returns the table as text, for `--help` and the man page.
pub(crate) fn text() -> String {
    let mut text = "Exit codes:".to_owned();
    for (code, meaning) in TABLE {
        // The result is ignored, because writing to a `String` cannot fail.
        let _ = write!(text, "\n  {code:<4} {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_the_same_table() {
        let guide = include_str!("../../docs/guide/commands.md");
        let rows = guide.lines().skip_while(|line| *line != "| exit code | meaning |").skip(2);
        let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
        let of_table: Vec<_> = TABLE.iter().map(|(code, meaning)| format!("| {code} | {meaning} |")).collect();
        assert_eq!(rows, of_table);
    }
}

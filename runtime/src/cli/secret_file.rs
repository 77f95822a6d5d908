//! Reads a file with one secret in a line.

use std::path::Path;

/// The largest file of secrets that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// Returns the lines of the file that are neither empty nor comments, each with the words that name its place. No
/// message contains a secret.
pub(super) fn lines(path: &Path) -> Result<Vec<(String, String)>, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?.len();
    if size > MAX_FILE {
        return Err(format!("{shown} has {size} bytes; a file of secrets has at most {MAX_FILE}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.enumerate().map(|(n, line)| (line.to_owned(), format!("{shown}, secret {}", n + 1))).collect())
}

//! The mistakes that settings can have. A message says which key is wrong, where it was set, and what is expected.
//!
//! Invariant: no message repeats a value, because the value may be a secret.

use std::fmt;
use std::path::PathBuf;

use super::set_by::SetBy;
use super::variables::variable;
use postback_wire::line::{Causes, Escaped};

/// One mistake in the settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the settings file {} cannot be read", Escaped(&path.to_string_lossy()))]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the settings file {} is not UTF-8 text; save it as UTF-8", Escaped(&path.to_string_lossy()))]
    Encoding { path: PathBuf },
    #[error("{}:{line}:{column}: not valid TOML{}", Escaped(&path.to_string_lossy()), after(": ", problem.as_deref()))]
    Syntax {
        path: PathBuf,
        line: usize,
        column: usize,
        /// The message of the TOML parser. `None` if the message quotes the file, which may contain secrets.
        problem: Option<String>,
    },
    #[error("the environment variable {} is not UTF-8 text", Escaped(name))]
    Variable { name: String },
    #[error("unknown key {} ({set_by}){}", Escaped(key), after("; ", hint.as_deref()))]
    Unknown { key: String, set_by: SetBy, hint: Option<String> },
    #[error("{} ({set_by}): the app has no such route{}", Escaped(key), after("; ", hint.as_deref()))]
    UnknownRoute { key: String, set_by: SetBy, hint: Option<String> },
    #[error("{} ({set_by}): expected {}", Escaped(key), Escaped(expected))]
    Expected { key: String, set_by: SetBy, expected: String },
    /// A value that cannot be used. The error `source` says why. The text of `source` does not contain the value.
    #[error("{} ({set_by}) cannot be used", Escaped(key))]
    Refused {
        key: String,
        set_by: SetBy,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The text `message` comes from the user's settings type. All values of the settings were already removed from
    /// this text.
    #[error("{} ({set_by}): {}", Escaped(key), Escaped(message))]
    Message { key: String, set_by: SetBy, message: String },
    #[error("{} is not set{}", Escaped(key), remedy(key))]
    Missing { key: String },
    #[error("{} is set as a whole ({whole}) and in part ({part}); use one of them", Escaped(key))]
    Clash { key: String, whole: SetBy, part: SetBy },
}

fn after(separator: &str, text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!("{separator}{}", Escaped(text)))
}

fn remedy(key: &str) -> String {
    // The message names no environment variable for a key inside a list, such as `delivery.endpoint[0].url`, because no
    // environment variable can set such a key.
    if key.contains('[') {
        return String::new();
    }
    format!("; set it in the settings file, or the environment variable {}", Escaped(&variable(key)))
}

/// All mistakes that were found in the settings. The list is never empty.
#[derive(Debug)]
pub(crate) struct Errors(pub(super) Vec<Error>);

impl Errors {
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

/// Writes one line for each mistake. The line also contains the causes of the mistake. So the method `source` of
/// `Errors` returns no cause.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "{}", Causes(one)),
            several => {
                write!(f, "{} mistakes in the settings:", several.len())?;
                several.iter().try_for_each(|error| write!(f, "\n  {}", Causes(error)))
            }
        }
    }
}

impl std::error::Error for Errors {}

//! What can be wrong with settings, and how it is said: which key, where it stands, what is wanted instead.
//!
//! Invariant: no message repeats a value, which may be a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::line::{Causes, Escaped};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File {
        path: Arc<Path>,
        line: usize,
    },
    /// An environment variable.
    Variable(Arc<str>),
    /// A flag of the command line.
    Flag(Arc<str>),
    /// Built in, or set by the program itself.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", Escaped(&path.to_string_lossy())),
            Self::Variable(name) => write!(f, "environment variable {}", Escaped(name)),
            Self::Flag(name) => write!(f, "flag {}", Escaped(name)),
            Self::Program => f.write_str("built in"),
        }
    }
}

/// One mistake.
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
        /// In the parser's words, unless they quote the file.
        problem: Option<String>,
    },
    #[error("the environment variable {} is not UTF-8 text", Escaped(name))]
    Variable { name: String },
    #[error("unknown key {} ({origin}){}", Escaped(key), after("; ", hint.as_deref()))]
    Unknown { key: String, origin: Origin, hint: Option<String> },
    #[error("{} ({origin}): expected {}", Escaped(key), Escaped(expected))]
    Expected { key: String, origin: Origin, expected: String },
    /// The source says why, without the value.
    #[error("{} ({origin}) cannot be used", Escaped(key))]
    Refused {
        key: String,
        origin: Origin,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Said by the user's own type, with the values taken out.
    #[error("{} ({origin}): {}", Escaped(key), Escaped(message))]
    Own { key: String, origin: Origin, message: String },
    #[error("{} is not set{}", Escaped(key), remedy(key))]
    Missing { key: String },
    #[error("{} is set as a whole ({whole}) and in part ({part}); use one of them", Escaped(key))]
    Clash { key: String, whole: Origin, part: Origin },
}

fn after(separator: &str, text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!("{separator}{}", Escaped(text)))
}

fn remedy(key: &str) -> String {
    // A key inside a list cannot be named by a variable.
    if key.contains('[') {
        return String::new();
    }
    let variable = super::sources::variable(key);
    format!("; set it in the settings file, or the environment variable {}", Escaped(&variable))
}

/// All mistakes that were found, told together; never empty.
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

/// One line for each mistake. There is no source: the lines hold those of the single mistakes.
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

//! Where a value was set.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use postback_wire::line::Escaped;

/// The place where a value of the settings was set. Error messages show this place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetBy {
    File {
        path: Arc<Path>,
        line: usize,
    },
    /// The value was set by the environment variable with this name.
    Variable(Arc<str>),
    /// The value was set by a flag of the command line, such as `--listen`.
    Flag(Arc<str>),
    /// The value is the built-in default, or was set by the program itself.
    Program,
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", Escaped(&path.to_string_lossy())),
            Self::Variable(name) => write!(f, "environment variable {}", Escaped(name)),
            Self::Flag(name) => write!(f, "flag {}", Escaped(name)),
            Self::Program => f.write_str("built in"),
        }
    }
}

//! Where a value was set.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use postback_wire::line::Escaped;

/// Where a value was set, for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetBy {
    File {
        path: Arc<Path>,
        line: usize,
    },
    /// An environment variable, by its name.
    Variable(Arc<str>),
    /// A flag of the command line, such as `--listen`.
    Flag(Arc<str>),
    /// The built-in default, or a value that the program itself has set.
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

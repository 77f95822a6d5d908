//! Where a route is declared, for messages about it.

use std::fmt;
use std::panic::Location;

/// The place where a route is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A call in the source code of the program.
    Code(&'static Location<'static>),
    /// A table of the operator's settings, such as `forward[0]`.
    #[cfg(feature = "forward")]
    Settings(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(location) => write!(f, "{}:{}", location.file(), location.line()),
            #[cfg(feature = "forward")]
            Self::Settings(key) => write!(f, "settings, {key}"),
        }
    }
}

//! All that generated code may name. No interface: it changes with the attributes, which are pinned to it by version.

#[cfg(feature = "server")]
pub use std::process::ExitCode;

pub use crate::__whole as whole;
#[cfg(feature = "server")]
pub use crate::entry::{Program, run as start, run_without_settings as start_without_settings};
#[cfg(feature = "server")]
pub use crate::handler::check;
pub use crate::outcome::{
    AsDebug, AsDisplay, AsJson, Through, Untold, at_once, begin, enter, lazily, never, nothing, returned, returns,
    told, watch,
};
pub use crate::report::Ends;
pub use crate::webhook::Whose;

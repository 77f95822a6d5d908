//! All that generated code may name. No interface: it changes with the attributes, which are pinned to it by version.

pub use crate::outcome::{AsDebug, AsDisplay, AsJson, Through, Untold, enter, told, watch};
pub use crate::report::Ends;

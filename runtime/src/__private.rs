//! All that generated code may name. No interface: it changes with the attributes, which are pinned to it by version.

#[cfg(feature = "server")]
pub use std::process::ExitCode;

#[cfg(feature = "server")]
pub use inventory;

#[cfg(feature = "server")]
pub use crate::__announce as announce;
#[cfg(not(feature = "server"))]
pub use crate::__announce_to_nobody as announce;
pub use crate::__whole as whole;
#[cfg(feature = "server")]
pub use crate::entry::{Program, run as start, run_without_settings as start_without_settings};
#[cfg(feature = "server")]
pub use crate::handler::{Announced, Asking, check, path_of};
pub use crate::outcome::{
    AsDebug, AsDisplay, AsJson, Through, Untold, at_once, begin, enter, lazily, never, nothing, returned, returns,
    told, watch,
};
pub use crate::report::Ends;
pub use crate::webhook::Whose;

/// Has a closure or an `async` block capture each of the variables as a whole. By itself it captures the fields that its
/// code names, each for itself, and drops them in the order in which they are named.
///
/// A variable that is used nowhere else stays unused, and the compiler says so.
// A macro of its own: what is said about the place of a capture would be said about the user's words, were they here
// directly, and is not about those of another crate's macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __whole {
    ($($(#[$condition:meta])* $name:ident)*) => {
        if let ::core::option::Option::Some(()) = ::core::option::Option::None::<()> {
            let _nothing = $crate::__private::nothing();
            $($(#[$condition])* let _ = &$name;)*
        }
    };
}

/// Within a function: what the attribute announces of it.
#[cfg(feature = "server")]
#[doc(hidden)]
#[macro_export]
macro_rules! __announce {
    ($asking:ident $is_plain:literal $webhook:literal) => {
        const _: () = {
            fn within() -> &'static str {
                $crate::__private::path_of(&within)
            }
            $crate::__private::inventory::submit! {
                $crate::__private::Announced {
                    within,
                    webhook: $webhook,
                    asking: $crate::__private::Asking::$asking,
                    is_plain: $is_plain,
                }
            }
        };
    };
}

/// Without a server nobody asks.
#[cfg(not(feature = "server"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __announce_to_nobody {
    ($asking:ident $is_plain:literal $webhook:literal) => {};
}

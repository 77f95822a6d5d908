//! The items that generated code names. This is not a public API: it changes together with the attributes.
//!
//! The crate `postback-macros` is pinned to the exact version of this crate, so both always fit.

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
pub use postback_wire::report::Ends;
pub use postback_wire::webhook::Whose;

/// Makes a closure or an `async` block capture each of these variables as a whole.
///
/// Without this macro, a closure captures the single fields that its code names, and drops them in the order in which
/// they are named. A variable that is used nowhere else still counts as unused, and the compiler warns about it.
// This code is a macro, and not part of the generated code, because the compiler reports some lints at the place of a
// capture. It does not report them in a macro of another crate. In generated code, it would report them at the user's
// own code.
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

/// Announces an annotated function to the server. Generated code calls this macro within the function.
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

/// Does nothing: without the feature `server`, annotated functions are not announced.
#[cfg(not(feature = "server"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __announce_to_nobody {
    ($asking:ident $is_plain:literal $webhook:literal) => {};
}

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
pub use crate::__capture_whole as capture_whole;
#[cfg(feature = "server")]
pub use crate::entry::{Program, run as start, run_without_settings as start_without_settings};
#[cfg(feature = "server")]
pub use crate::handler::{Announcement, Reads, WebhookProbe, check, type_path};
pub use crate::outcome::{
    AsDebug, AsDisplay, AsJson, Mapped, Omitted, begin, checked_views, enter, never, nothing, on_first_poll, returned,
    returns, run_sync, watch,
};
pub use postback_wire::report::{Ends, Format};
pub use postback_wire::webhook::OperatorCheck;

/// Makes a closure or an `async` block capture each of these variables as a whole.
///
/// Without this macro, a closure captures only those fields of a variable that the closure's code names, and drops the
/// fields in the order in which the code names them. The macro does not count as a use of a variable. So the compiler
/// still warns if the user's code does not use the variable.
// The attributes generate a call of this macro, and do not generate the code inside the macro, for this reason: the
// compiler reports some lints at the place where a variable is captured. If this place were in generated code, the
// compiler would report the lints to the user, as if the user had written the code. The compiler reports no such lints
// for the code inside a macro of another crate.
#[doc(hidden)]
#[macro_export]
macro_rules! __capture_whole {
    ($($(#[$condition:meta])* $name:ident)*) => {
        if let ::core::option::Option::Some(()) = ::core::option::Option::None::<()> {
            let _nothing = $crate::__private::nothing();
            $($(#[$condition])* let _ = &$name;)*
        }
    };
}

/// Announces an annotated function to the server. The attributes generate a call of this macro in the body of the
/// function.
#[cfg(feature = "server")]
#[doc(hidden)]
#[macro_export]
macro_rules! __announce {
    ($probe:ident $reads:ident $webhook:literal) => {
        const _: () = {
            fn within() -> &'static str {
                $crate::__private::type_path(&within)
            }
            $crate::__private::inventory::submit! {
                $crate::__private::Announcement {
                    within,
                    webhook: $webhook,
                    probe: $crate::__private::WebhookProbe::$probe,
                    reads: $crate::__private::Reads::$reads,
                }
            }
        };
    };
}

/// Expands to nothing, because annotated functions are announced only with the feature `server`.
#[cfg(not(feature = "server"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __announce_to_nobody {
    ($probe:ident $reads:ident $webhook:literal) => {};
}

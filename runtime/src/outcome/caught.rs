//! Running a user's code where a panic must not get through.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `theirs` returns, or what it said when it panicked.
///
/// The panic hook runs as ever, so the place of the panic is in the log.
pub(super) fn caught<T>(theirs: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(theirs)).map_err(said)
}

fn said(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            // Dropping a type of the user's own is the user's code again: leaked rather than run.
            mem::forget(payload);
            "no text".to_owned()
        }
    }
}

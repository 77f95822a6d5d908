//! Turns the output of a call into its outcome, with one view for the result and one for the error.

use super::captured::Returns;
use super::guard::{Ending, Guard};
use super::view::{AsJson, Fallible, Omitted, View};

/// Makes the outcome of an annotated function call from its output. The output has the type `O`.
pub trait Render<O> {
    #[doc(hidden)]
    fn finish(&self, guard: &mut Guard, output: &O) -> Option<Ending>;
}

/// The two views of a report: `R` says how the report shows the result of a call, and `E` how it shows the error.
#[derive(Clone, Copy, Debug)]
pub struct Views<R, E> {
    result: R,
    error: E,
}

impl Views<AsJson, Omitted> {
    /// The default views: a report shows the result as JSON, and does not show the error.
    pub(super) const DEFAULT: Self = Self { result: AsJson, error: Omitted };
}

impl<R, E> Views<R, E> {
    pub(super) fn with_result<V>(self, result: V) -> Views<V, E> {
        Views { result, error: self.error }
    }

    pub(super) fn with_error<V>(self, error: V) -> Views<R, V> {
        Views { result: self.result, error }
    }
}

impl<O, R, E> Render<O> for Views<R, E>
where
    O: Fallible,
    R: View<O::Ok>,
    E: View<O::Err>,
{
    fn finish(&self, guard: &mut Guard, output: &O) -> Option<Ending> {
        guard.finish(output.as_result(), &self.result, &self.error)
    }
}

/// Makes the views of an annotated function. The compiler checks here that the views fit the return type of the
/// function.
///
/// Only this function has the trait bounds for the check. So if the return type does not fit, the compiler reports one
/// error, at the return type. With the same bounds around the `.await`, the compiler would report a second error, at
/// the attribute, about types that the user never wrote.
pub fn checked_views<O, R, E>(_: Returns<O>, result: R, error: E) -> Checked<O, R, E>
where
    O: Fallible,
    R: View<O::Ok>,
    E: View<O::Err>,
{
    Checked { views: Views { result, error }, finish: <Views<R, E> as Render<O>>::finish }
}

/// Views that fit outputs of the type `O`. Only the function [`checked_views`] makes this value, so the compiler has
/// checked that the views fit.
pub struct Checked<O, R, E> {
    views: Views<R, E>,
    finish: fn(&Views<R, E>, &mut Guard, &O) -> Option<Ending>,
}

impl<O, R, E> Render<O> for Checked<O, R, E> {
    fn finish(&self, guard: &mut Guard, output: &O) -> Option<Ending> {
        (self.finish)(&self.views, guard, output)
    }
}

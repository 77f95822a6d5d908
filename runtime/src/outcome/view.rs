//! What a report tells of a result or an error: nothing, the value itself, its text, or what a function makes of it.

use std::fmt::{Debug, Display};

use serde::Serialize;

use super::captured::Returns;
use super::guard::{Ending, Guard};
use crate::report::Json;

/// Has an `Ok` and an `Err`: any `Result`, whatever name it goes by.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `Result`, so its outcome cannot be reported",
    label = "has to be a `Result`",
    note = "`Ok` is reported as completed, `Err` as failed",
    note = "what cannot fail returns `Result<{Self}, std::convert::Infallible>`"
)]
pub trait Fallible: sealed::Sealed {
    /// What is told of a completed call.
    type Ok;
    /// What is told of a failed one, if that is asked for.
    type Err;

    #[doc(hidden)]
    fn as_result(&self) -> Result<&Self::Ok, &Self::Err>;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn as_result(&self) -> Result<&T, &E> {
        self.as_ref()
    }
}

mod sealed {
    pub trait Sealed {}
    impl<T, E> Sealed for Result<T, E> {}
}

/// How an outcome of this type is told.
pub trait Render<O> {
    #[doc(hidden)]
    fn finish(&self, guard: &mut Guard, outcome: &O) -> Option<Ending>;
}

/// A view of the result and one of the error.
#[derive(Clone, Copy, Debug)]
pub struct Views<R, E> {
    result: R,
    error: E,
}

impl Views<AsJson, Untold> {
    pub(super) const USUAL: Self = Self { result: AsJson, error: Untold };
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
    fn finish(&self, guard: &mut Guard, outcome: &O) -> Option<Ending> {
        guard.finish(outcome.as_result(), &self.result, &self.error)
    }
}

/// The views of an annotated function.
///
/// What they ask of its return type is asked here, once and in the type's own place, and nowhere after it: a type that
/// does not fit would be told again at the `.await`, on the attribute, in terms of types that the user has never seen.
pub fn told<O, R, E>(_: Returns<O>, result: R, error: E) -> Checked<O, R, E>
where
    O: Fallible,
    R: View<O::Ok>,
    E: View<O::Err>,
{
    Checked { views: Views { result, error }, finish: <Views<R, E> as Render<O>>::finish }
}

/// See [`told`].
pub struct Checked<O, R, E> {
    views: Views<R, E>,
    finish: fn(&Views<R, E>, &mut Guard, &O) -> Option<Ending>,
}

impl<O, R, E> Render<O> for Checked<O, R, E> {
    fn finish(&self, guard: &mut Guard, outcome: &O) -> Option<Ending> {
        (self.finish)(&self.views, guard, outcome)
    }
}

/// A way to tell a value of this type.
pub trait View<T: ?Sized> {
    #[doc(hidden)]
    fn tell(&self, value: &T) -> Result<Rendered, serde_json::Error>;
}

/// What a view has to say.
#[derive(Debug, Default)]
pub struct Rendered {
    /// For the report.
    pub(super) json: Option<Json>,
    /// For log and store.
    pub(super) text: Option<String>,
}

impl Rendered {
    fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self { json: Json::of(value)?, text: None })
    }

    #[expect(clippy::unnecessary_wraps, reason = "what `View::tell` returns")]
    fn text(text: String) -> Result<Self, serde_json::Error> {
        Ok(Self { json: Some(Json::string(&text)), text: Some(text) })
    }
}

/// Render nothing.
#[derive(Clone, Copy, Debug)]
pub struct Untold;

/// Render the value as JSON.
#[derive(Clone, Copy, Debug)]
pub struct AsJson;

/// Render the value's text.
#[derive(Clone, Copy, Debug)]
pub struct AsDisplay;

/// Render the value's debug form.
#[derive(Clone, Copy, Debug)]
pub struct AsDebug;

/// Render what a function makes of the value.
#[derive(Clone, Copy, Debug)]
pub struct Through<G>(pub G);

impl<T: ?Sized> View<T> for Untold {
    fn tell(&self, _: &T) -> Result<Rendered, serde_json::Error> {
        Ok(Rendered::default())
    }
}

impl<T: Serialize + ?Sized> View<T> for AsJson {
    fn tell(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::json(value)
    }
}

impl<T: Display + ?Sized> View<T> for AsDisplay {
    fn tell(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::text(value.to_string())
    }
}

impl<T: Debug + ?Sized> View<T> for AsDebug {
    fn tell(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::text(format!("{value:?}"))
    }
}

impl<T: ?Sized, G: for<'a> Shows<'a, T>> View<T> for Through<G> {
    fn tell(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::json(&self.0.shown(value))
    }
}

/// A function from `&T` to something that can be serialised, and that may borrow from it.
// A bound `Fn(&T) -> S` alone would not let `S` borrow. The last parameter is never given: it says that `T` outlives
// `'a`, which a bound could not say without asking it of every `'a` there is, and so `'static` of an error that borrows.
pub trait Shows<'a, T: ?Sized, Outlives = &'a T> {
    /// What is told.
    type Shown: Serialize;

    #[doc(hidden)]
    fn shown(&self, value: &'a T) -> Self::Shown;
}

impl<'a, T: ?Sized, S: Serialize, G: Fn(&'a T) -> S> Shows<'a, T> for G {
    type Shown = S;

    fn shown(&self, value: &'a T) -> S {
        self(value)
    }
}

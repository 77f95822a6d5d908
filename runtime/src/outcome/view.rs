//! What a report shows of a result or an error: nothing, the value itself, its text, or what a function returns for it.

use std::fmt::{Debug, Display};

use serde::Serialize;

use postback_wire::report::Json;

/// The trait of the type `Result`, and so of type aliases such as `io::Result`. The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`, so its outcome cannot be reported",
    label = "must be a `Result`",
    note = "`Ok` is reported as completed, `Err` as failed",
    note = "if the function cannot fail, return `Result<{Self}, std::convert::Infallible>`"
)]
pub trait Fallible: sealed::Sealed {
    /// The type of the result of a completed call. The report shows the result as the member `result`.
    type Ok;
    /// The type of the error of a failed call. The report shows the error as the member `error`, but only if you ask
    /// for this member.
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

/// A view decides how a report shows a value of the type `T`.
pub trait View<T: ?Sized> {
    #[doc(hidden)]
    fn render(&self, value: &T) -> Result<Rendered, serde_json::Error>;
}

/// The texts that a view has made from a result or an error.
#[derive(Debug, Default)]
pub struct Rendered {
    /// The JSON text that the report shows. `None` if the report does not show the value.
    pub(super) json: Option<Json>,
    /// The text that is logged and stored. `None` if the view makes no such text.
    pub(super) text: Option<String>,
}

impl Rendered {
    fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self { json: Json::of(value)?, text: None })
    }

    #[expect(clippy::unnecessary_wraps, reason = "`View::render` returns a `Result`")]
    fn text(text: String) -> Result<Self, serde_json::Error> {
        Ok(Self { json: Some(Json::string(&text)), text: Some(text) })
    }
}

/// A view with which a report does not show the value.
#[derive(Clone, Copy, Debug)]
pub struct Omitted;

/// A view with which a report shows the value as JSON.
#[derive(Clone, Copy, Debug)]
pub struct AsJson;

/// A view with which a report shows the value's `Display` text.
#[derive(Clone, Copy, Debug)]
pub struct AsDisplay;

/// A view with which a report shows the value's `Debug` text.
#[derive(Clone, Copy, Debug)]
pub struct AsDebug;

/// A view that calls a function with the value. The report shows the value that the function returns, as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<G>(pub G);

impl<T: ?Sized> View<T> for Omitted {
    fn render(&self, _: &T) -> Result<Rendered, serde_json::Error> {
        Ok(Rendered::default())
    }
}

impl<T: Serialize + ?Sized> View<T> for AsJson {
    fn render(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::json(value)
    }
}

impl<T: Display + ?Sized> View<T> for AsDisplay {
    fn render(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::text(value.to_string())
    }
}

impl<T: Debug + ?Sized> View<T> for AsDebug {
    fn render(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::text(format!("{value:?}"))
    }
}

impl<T: ?Sized, G: for<'a> Shows<'a, T>> View<T> for Mapped<G> {
    fn render(&self, value: &T) -> Result<Rendered, serde_json::Error> {
        Rendered::json(&self.0.shown(value))
    }
}

/// A function that takes `&T` and returns a value that can be serialised. The returned value may borrow from the `&T`.
/// With the bound `Fn(&T) -> S`, the returned `S` could not borrow. The parameter `Outlives` always has its default
/// `&'a T`, which implies that `T` outlives `'a`. If a `where` clause demanded this for every `'a`, `T` would have to
/// be `'static`, and the user's error type could not borrow.
pub trait Shows<'a, T: ?Sized, Outlives = &'a T> {
    /// The type that the function returns.
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

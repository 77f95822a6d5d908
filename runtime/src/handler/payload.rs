//! The extractor for the body of a request.

use std::any::Any;
use std::ops::Deref;

use serde::de::DeserializeOwned;

use super::body::{PayloadKind, is_bytes, read};
use super::extract::Parameter;
#[cfg(feature = "multipart")]
use super::multipart::{Multipart, is_multipart};
use super::{Extract, Needs, Run, Shared};

/// The body of the request. `Payload<T>` reads a JSON body into any `T: DeserializeOwned`. `Payload<Bytes>` takes the
/// bytes of the body unchanged, and `Payload<`[`Form`](crate::Form)`<T>>` the fields of a form. With the feature
/// `multipart`, `Payload<Multipart>` takes a form with files.
///
/// `Payload` dereferences to `T`. A request with a JSON payload must have the content type `application/json`, or a
/// content type that ends with `+json`. The server checks the payload before it accepts the request. If the body does
/// not fit `T`, the server answers 422 with the path of the wrong field, and does not accept the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<T>(pub T);

impl<T> Payload<T> {
    /// Returns the value that was read from the body.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Payload<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + Send + 'static> Parameter for Payload<T> {}

impl<S, T: DeserializeOwned + Send + 'static> Extract<S> for Payload<T> {
    fn needs() -> Needs {
        #[cfg(feature = "multipart")]
        if is_multipart::<T>() {
            return Needs { files: true, ..Needs::of_one_request() };
        }
        Needs::of_one_request()
    }

    fn payload() -> Option<PayloadKind> {
        Some(PayloadKind::of::<T>())
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        if is_bytes::<T>() {
            // `downcast` never fails here, because `T` is `Bytes`.
            let body: Box<dyn Any> = Box::new(run.body.clone());
            return body.downcast().map(|bytes| Self(*bytes)).map_err(|_| "the payload is not bytes".to_owned());
        }
        #[cfg(feature = "multipart")]
        if is_multipart::<T>() {
            let multipart: Box<dyn Any> = Box::new(Multipart::of(run)?);
            return multipart.downcast().map(|of| Self(*of)).map_err(|_| "the payload has no parts".to_owned());
        }
        // The server has checked the body before it accepted the request. But an older version of the program, with
        // another type `T`, may have accepted the request.
        read(&run.body).map(Self).map_err(|error| format!("the payload does not fit the handler: {error}"))
    }
}

//! The extractor for the body of a request.

use std::any::Any;
use std::ops::Deref;

use serde::de::DeserializeOwned;

use super::body::{PayloadKind, is_bytes, json};
use super::extract::sealed::Parameter;
use super::{Extract, Run, Shared};

/// The body of the request: JSON as any `T: DeserializeOwned`, or the bytes as they came with `Payload<Bytes>`.
///
/// Dereferences to `T`. A JSON payload needs the content type `application/json`, or one that ends in `+json`. The
/// server checks it when the request is posted: if the body does not fit `T`, the server answers 422 with the path of
/// the field, and accepts no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<T>(pub T);

impl<T> Payload<T> {
    /// Unwraps the value.
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
    fn payload() -> Option<PayloadKind> {
        Some(PayloadKind::of::<T>())
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        if is_bytes::<T>() {
            // `T` is `Bytes` here, so the downcast does not fail.
            let body: Box<dyn Any> = Box::new(run.body.clone());
            return body.downcast().map(|bytes| Self(*bytes)).map_err(|_| "the payload is not bytes".to_owned());
        }
        // The server checked the body when the request was posted, but perhaps with an older version of the program.
        json(&run.body).map(Self).map_err(|error| format!("the payload does not fit the handler: {error}"))
    }
}

//! The extractor [`Metadata`]: what the caller sent in the header `Postback-Metadata`.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};

/// What the caller sent in the header `Postback-Metadata`: JSON of at most 4 KiB, which the status and the report of the
/// request repeat.
///
/// ```
/// use postback::{HandlerError, IntoHandlerError as _, Metadata, Payload};
///
/// #[derive(Default, serde::Deserialize)]
/// struct About {
///     customer: String,
/// }
///
/// async fn render(scene: Payload<String>, metadata: Metadata) -> Result<String, HandlerError> {
///     let about: About = metadata.read().map_err(|error| error.permanent())?.unwrap_or_default();
///     Ok(format!("{} for {}", *scene, about.customer))
/// }
/// ```
///
/// To call a handler by hand, as a test does, make one with [`Metadata::new`], or `Metadata::default()`, which is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(Option<Arc<str>>);

impl Metadata {
    /// Makes metadata from a JSON text. The text is not checked.
    pub fn new(json: impl Into<String>) -> Self {
        Self(Some(json.into().into()))
    }

    /// Returns the JSON text. `None`: the caller sent no metadata.
    pub fn json(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Reads the JSON text as a value of this type. `Ok(None)`: the caller sent no metadata.
    ///
    /// # Errors
    ///
    /// Returns an error if the JSON does not fit the type. The server accepts any JSON as metadata, so a handler that
    /// needs a certain form has to expect this error.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.json().map(serde_json::from_str).transpose()
    }
}

impl Parameter for Metadata {}

impl<S> Extract<S> for Metadata {
    fn needs() -> Needs {
        Needs::of_one_request()
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        let metadata = run.info.extras.as_ref().and_then(|extras| extras.metadata.as_deref());
        Ok(Self(metadata.map(Arc::from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_the_type_that_the_handler_wants() {
        let metadata = Metadata::new(r#"{"a":1}"#);
        assert_eq!(metadata.read::<serde_json::Value>().unwrap().unwrap()["a"], 1);
        assert!(metadata.read::<Vec<u8>>().is_err());
        assert_eq!((Metadata::default().json(), Metadata::default().read::<u8>().unwrap()), (None, None));
    }
}

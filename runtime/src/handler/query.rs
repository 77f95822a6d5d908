//! The extractor [`Query`]: the query of the URL to which a request was posted.
//!
//! The server keeps the query with the headers of the request, under a name that callers cannot send. So it is there
//! wherever the request is: in its first run and in later ones, in a copy that an operator makes, and when the handler is
//! asked for its webhooks.

use std::ops::Deref;

use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;

use super::body::PayloadError;
use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared, form};
use crate::panics::caught;
use postback_wire::names::header::QUERY;

/// The query of the URL to which the request was posted, such as `lang=en&size=2` in `POST /render?lang=en&size=2`.
///
/// `T` is a struct with a field for each parameter, and `Query` dereferences to it. A parameter that comes several times
/// is read into a `Vec`; one that may be missing is an `Option`, or has `#[serde(default)]`. The server checks the query
/// before it accepts the request: if it does not fit `T`, the server answers 400 with the name of the wrong parameter.
///
/// ```
/// use postback::{Payload, Query};
///
/// #[derive(serde::Deserialize)]
/// struct Options {
///     lang: String,
///     #[serde(default)]
///     tag: Vec<String>,
/// }
///
/// async fn render(text: Payload<String>, options: Query<Options>) -> Result<String, String> {
///     Ok(format!("{} in {}, {} tags", *text, options.lang, options.tag.len()))
/// }
/// ```
///
/// The query is stored with the request, and operators see it, so it is no place for secrets. It is not stored if the
/// handler takes no `Query`. A request that a schedule makes has an empty query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T> Query<T> {
    /// Returns the value that was read from the query.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Query<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + Send + 'static> Parameter for Query<T> {}

impl<S, T: DeserializeOwned + Send + 'static> Extract<S> for Query<T> {
    fn needs() -> Needs {
        Needs::of_one_request()
    }

    fn query() -> Option<QueryCheck> {
        Some(check::<T>)
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        // The server has checked the query before it accepted the request. But an older version of the program, with
        // another type `T`, may have accepted the request.
        read(of(&run.headers)).map(Self).map_err(|error| format!("the query does not fit the handler: {error}"))
    }
}

/// Checks whether a query can be read as the type of a handler's parameter.
pub(crate) type QueryCheck = fn(&[u8]) -> Result<(), PayloadError>;

/// Returns the query that is kept with the headers of a request.
pub(super) fn of(headers: &HeaderMap) -> &[u8] {
    headers.get(QUERY).map_or(&[], HeaderValue::as_bytes)
}

/// Checks a query. A panic in the `Drop` of the read value is ignored here, because the run of the handler will panic in
/// the same way and report the panic.
fn check<T: DeserializeOwned>(query: &[u8]) -> Result<(), PayloadError> {
    let value = read::<T>(query)?;
    let _ = caught(|| drop(value));
    Ok(())
}

fn read<T: DeserializeOwned>(query: &[u8]) -> Result<T, PayloadError> {
    form::fields(query).map_err(|wrong| PayloadError::Query { parameter: wrong.name, problem: wrong.problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Options {
        lang: String,
        #[serde(default)]
        tag: Vec<u8>,
        size: Option<u32>,
    }

    fn extracted(query: &'static str) -> Result<Options, String> {
        let headers = HeaderMap::from_iter([(QUERY.parse().unwrap(), HeaderValue::from_static(query))]);
        let run = Run::of(postback_wire::id::RequestId::generate(), headers.into(), bytes::Bytes::new());
        let shared = Shared { settings: ().into(), states: super::super::States::default() };
        Extract::extract(&run, &shared).map(Query::into_inner)
    }

    #[test]
    fn parameters_are_read_with_their_types() {
        let options = extracted("tag=1&lang=e%6E&tag=2&other=x").unwrap();
        assert_eq!(options, Options { lang: "en".to_owned(), tag: vec![1, 2], size: None });
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_parameter() {
        let told = |query: &str| check::<Options>(query.as_bytes()).unwrap_err().to_string();
        assert_eq!(told("lang=en&size=x"), "the query parameter `size`: invalid digit found in string");
        assert!(told("size=1").starts_with("the query: missing field"), "{}", told("size=1"));
        let error = extracted("").unwrap_err();
        assert!(error.starts_with("the query does not fit the handler: the query: missing field"), "{error}");
    }
}

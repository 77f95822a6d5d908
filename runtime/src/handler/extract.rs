//! The extractors: what a handler can take as parameters. The payload has a file of its own.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use http::HeaderMap;

use super::body::PayloadKind;
use super::query::QueryCheck;
use super::{Needs, Run};
use postback_wire::id::RequestId;
use postback_wire::webhook::Operators;

/// A type that a handler can take as a parameter.
///
/// These types are [`Config`], [`State`], [`Payload`](super::Payload), [`Headers`], [`RequestId`],
/// [`Progress`](super::Progress), [`Attempt`](super::Attempt), [`Cancellation`](super::Cancellation),
/// [`Deadline`](super::Deadline), [`Checkpoint`](super::Checkpoint), [`Metadata`](super::Metadata),
/// [`Query`](super::Query) and [`Trace`](super::Trace), and [`Batch`](super::Batch) in a handler of a batch.
///
/// # An extractor of your own
///
/// Implement this trait, and [`Parameter`], for a type of yours. The run has the id, the headers and the body of the
/// request; `shared` has the settings and the states of the app.
///
/// ```
/// use postback::extract::{Extract, Parameter, Run, Shared};
///
/// /// The tenant that a gateway has put into a header.
/// struct Tenant(String);
///
/// impl Parameter for Tenant {}
///
/// impl<S> Extract<S> for Tenant {
///     fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
///         let name = run.headers().get("x-tenant").ok_or("the header x-tenant is missing")?;
///         Ok(Self(name.to_str().map_err(|_| "the header x-tenant is not text")?.to_owned()))
///     }
/// }
///
/// async fn greet(tenant: Tenant) -> Result<String, String> {
///     Ok(format!("hello {}", tenant.0))
/// }
/// # let _ = postback::App::new(()).route("/greet", greet);
/// ```
///
/// A webhook that comes from such a value counts as one that the caller chose: it is not signed, and reaches public
/// addresses only. If the operator chose it, say so with [`Webhook::trusted`](crate::Webhook::trusted).
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` as a parameter in an app with settings of type `{S}`",
    label = "not a handler parameter",
    note = "a handler can take `Config<{S}>`, `State<T>`, `Payload<T>`, `Headers`, `RequestId`, `Progress`, `Attempt`, `Cancellation`, `Deadline`, `Checkpoint<T>`, `Metadata`, `Query<T>` and `Trace`, all from `postback`",
    note = "take a value given with `App::state(value)` as `State<T>`, and the body of the request as `Payload<T>`"
)]
pub trait Extract<S>: Parameter {
    #[doc(hidden)]
    fn payload() -> Option<PayloadKind> {
        None
    }

    /// Returns the check of the query, if the parameter reads it.
    #[doc(hidden)]
    fn query() -> Option<QueryCheck> {
        None
    }

    /// Returns what the parameter needs of the worker.
    #[doc(hidden)]
    fn needs() -> Needs {
        Needs::default()
    }

    /// Returns a message if the app lacks something that this parameter needs. An app for which there is such a message
    /// does not start, and the message is shown. By default, the parameter needs nothing.
    fn fault(shared: &Shared<S>) -> Option<String> {
        let _ = shared;
        None
    }

    /// Makes the parameter for a run. It is called right before the handler, on its thread.
    ///
    /// # Errors
    ///
    /// The text says why the parameter cannot be made. The run then fails with this text, as if the handler had returned
    /// it as its error.
    fn extract(run: &Run, shared: &Shared<S>) -> Result<Self, String>;
}

/// A mark of the types that implement [`Extract`] for some app. An extractor of your own needs it too: the attribute
/// `#[debug_handler]` checks it if the attribute does not know the type of the app's settings.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` as a parameter",
    label = "not a handler parameter",
    note = "a handler can take `Config<S>`, `State<T>`, `Payload<T>`, `Headers`, `RequestId`, `Progress`, `Attempt`, `Cancellation`, `Deadline`, `Checkpoint<T>`, `Metadata`, `Query<T>` and `Trace`, all from `postback`",
    note = "take a value given with `App::state(value)` as `State<T>`, and the body of the request as `Payload<T>`"
)]
pub trait Parameter: Sized + Send + 'static {}

/// The app's settings and states, which all handlers of the app share.
pub struct Shared<S> {
    pub(crate) settings: Arc<S>,
    pub(crate) states: States,
}

impl<S> Shared<S> {
    /// Returns the settings of the program.
    pub fn settings(&self) -> &S {
        &self.settings
    }

    /// Returns the value of this type that was given with [`App::state`](crate::App::state).
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.states.get()
    }
}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("states", &self.states.0.len()).finish_non_exhaustive()
    }
}

/// The values that the program has given to the app with `App::state`. No two values have the same type.
#[derive(Clone, Default)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Adds a value. Returns whether the new value has replaced a value of the same type.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        self.0.insert(TypeId::of::<T>(), Arc::new(value)).is_some()
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| Arc::clone(value).downcast().ok())
    }
}

/// The value in a [`Config`] or a [`State`].
struct Given<T> {
    value: Arc<T>,
    /// Whether this crate has made the value for a handler. If false, the user's code has made the value, so a webhook
    /// in the value may be one that a caller chose.
    by_runtime: bool,
}

impl<T> Given<T> {
    fn by_runtime(value: Arc<T>) -> Self {
        Self { value, by_runtime: true }
    }

    fn by_hand(value: Arc<T>) -> Self {
        Self { value, by_runtime: false }
    }
}

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), by_runtime: self.by_runtime }
    }
}

/// The settings of your program: the table `[config]` of the app's settings, read into the type of the parameter of
/// your `main`.
///
/// `Config` dereferences to this type. A clone only increments a reference count.
pub struct Config<S>(Given<S>);

impl<S> Config<S> {
    /// Makes a `Config` from settings, so that a test can call a handler directly.
    pub fn new(settings: S) -> Self {
        Arc::new(settings).into()
    }
}

impl<S> From<Arc<S>> for Config<S> {
    fn from(settings: Arc<S>) -> Self {
        Self(Given::by_hand(settings))
    }
}

impl<S> Clone for Config<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for Config<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.0.value).finish()
    }
}

impl<S> Operators for Config<S> {
    fn is_operator(&self) -> bool {
        self.0.by_runtime
    }
}

impl<S> Deref for Config<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0.value
    }
}

impl<S: Send + Sync + 'static> Parameter for Config<S> {}

impl<S: Send + Sync + 'static> Extract<S> for Config<S> {
    fn extract(_: &Run, shared: &Shared<S>) -> Result<Self, String> {
        Ok(Self(Given::by_runtime(Arc::clone(&shared.settings))))
    }
}

/// A value that you gave to the app with [`App::state`](crate::App::state), such as a connection pool.
///
/// `State` dereferences to the value. A clone only increments a reference count. All handlers share the value.
pub struct State<T>(Given<T>);

impl<T> State<T> {
    /// Makes a `State` from a value, so that a test can call a handler directly.
    pub fn new(value: T) -> Self {
        Arc::new(value).into()
    }

    /// Returns the value, which other handlers may share.
    pub fn into_inner(self) -> Arc<T> {
        self.0.value
    }
}

impl<T> From<Arc<T>> for State<T> {
    fn from(value: Arc<T>) -> Self {
        Self(Given::by_hand(value))
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.0.value).finish()
    }
}

impl<T> Operators for State<T> {
    fn is_operator(&self) -> bool {
        self.0.by_runtime
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Send + Sync + 'static> Parameter for State<T> {}

impl<S, T: Send + Sync + 'static> Extract<S> for State<T> {
    fn fault(shared: &Shared<S>) -> Option<String> {
        let missing = shared.states.get::<T>().is_none();
        missing.then(|| format!("the handler takes State<{0}>, but no {0} was given with App::state", type_name::<T>()))
    }

    fn extract(_: &Run, shared: &Shared<S>) -> Result<Self, String> {
        // The value exists, because the method `fault` has checked this at the start. If the value is missing because
        // of a bug, the run fails without a panic.
        shared
            .states
            .get()
            .map(|value| Self(Given::by_runtime(value)))
            .ok_or_else(|| format!("no value for State<{}> was given with App::state", type_name::<T>()))
    }
}

/// The headers of the HTTP POST with which the request was submitted, without the headers that contain credentials.
///
/// `Headers` dereferences to [`http::HeaderMap`]. The server neither stores a header with a credential nor passes it to
/// a handler. The last word of a header's name decides whether the header contains a credential:
///
/// - `authorization`, `authentication`, `auth`, `cookie`, `secret`, `password`, `passphrase`, `credential`,
///   `assertion`, `jwt`, `bearer`, `otp`, and each word that ends in `token`, as in `x-csrf-token`, mean a credential;
/// - `key`, as in `x-api-key`, means a credential too, unless the key serves to find something, as in
///   `idempotency-key`, `x-partition-key` and `x-cache-key`.
#[derive(Clone, Debug)]
pub struct Headers(Arc<HeaderMap>);

impl Headers {
    /// Makes a `Headers` from a header map, so that a test can call a handler directly.
    pub fn new(headers: HeaderMap) -> Self {
        Self(Arc::new(headers))
    }

    /// Returns the value of this header as text. Returns `None` if the header is missing, or if its value is not
    /// visible ASCII.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the content type of the body as the caller sent it, with its parameters. A handler with
    /// `Payload<Bytes>` learns from it what the bytes are. Returns `None` if the caller named no content type, or one
    /// that is not visible ASCII.
    pub fn content_type(&self) -> Option<&str> {
        self.text(http::header::CONTENT_TYPE.as_str())
    }
}

impl Deref for Headers {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        &self.0
    }
}

impl Parameter for Headers {}

impl<S> Extract<S> for Headers {
    fn needs() -> Needs {
        Needs::of_one_request()
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(Self(Arc::clone(&run.headers)))
    }
}

impl Parameter for RequestId {}

impl<S> Extract<S> for RequestId {
    fn needs() -> Needs {
        Needs::of_one_request()
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(run.id.clone())
    }
}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "handlers are async functions, and these have nothing to await")]
mod tests {
    use super::*;
    use crate::handler::Payload;

    struct Settings {
        greeting: &'static str,
    }

    struct Model {
        name: &'static str,
    }

    async fn greet(
        config: Config<Settings>,
        model: State<Model>,
        Payload(name): Payload<String>,
        headers: Headers,
    ) -> Result<String, String> {
        let language = headers.text("accept-language").ok_or("no language")?;
        Ok(format!("{} {name}, says {} in {language}", config.greeting, model.name))
    }

    #[tokio::test]
    async fn a_handler_can_be_called_by_hand() {
        let headers = HeaderMap::from_iter([(http::header::ACCEPT_LANGUAGE, http::HeaderValue::from_static("en"))]);
        let (config, model) = (Config::new(Settings { greeting: "hello" }), State::new(Model { name: "m1" }));
        let greeting = greet(config, model, Payload("Ada".to_owned()), Headers::new(headers)).await;
        assert_eq!(greeting.unwrap(), "hello Ada, says m1 in en");
    }

    #[test]
    fn the_content_type_is_what_the_caller_sent() {
        let sent = |value| Headers::new(HeaderMap::from_iter([(http::header::CONTENT_TYPE, value)]));
        let text = sent(http::HeaderValue::from_static("image/PNG; q=1"));
        assert_eq!(text.content_type(), Some("image/PNG; q=1"));
        assert_eq!(sent(http::HeaderValue::from_bytes(b"image/\xff").unwrap()).content_type(), None);
        assert_eq!(Headers::new(HeaderMap::new()).content_type(), None);
    }

    #[tokio::test]
    async fn what_is_shared_already_is_not_copied() {
        let (settings, model) = (Arc::new(Settings { greeting: "hi" }), Arc::new(Model { name: "m2" }));
        let (config, state) = (Config::from(Arc::clone(&settings)), State::from(Arc::clone(&model)));
        assert!(std::ptr::eq(&raw const *config, Arc::as_ptr(&settings)));
        assert!(Arc::ptr_eq(&state.into_inner(), &model));
        let error = greet(config, model.into(), Payload(String::new()), Headers::new(HeaderMap::new())).await;
        assert_eq!(error.unwrap_err(), "no language");
    }
}

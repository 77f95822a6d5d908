//! What a handler may ask for, apart from the payload.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use http::HeaderMap;

use super::{PayloadKind, Run};
use crate::id::RequestId;

/// Something that a handler can take as a parameter: [`Config`], [`State`], [`Payload`](super::Payload), [`Headers`],
/// [`RequestId`]. Not to be implemented outside.
#[diagnostic::on_unimplemented(
    message = "a handler cannot ask for `{Self}` where the app's settings are `{S}`",
    label = "cannot be asked for",
    note = "a handler may ask for `Config<{S}>`, `State<T>`, `Payload<T>`, `Headers` and `RequestId`, all from `postback`",
    note = "a value that is given with `App::state(value)` is asked for as `State<T>`, the body of the request as `Payload<T>`"
)]
pub trait Extract<S>: sealed::Parameter {
    #[doc(hidden)]
    fn payload() -> Option<PayloadKind> {
        None
    }

    /// What of the app is missing for it, told at start.
    #[doc(hidden)]
    fn fault(_: &Shared<S>) -> Option<String> {
        None
    }

    #[doc(hidden)]
    fn extract(run: &Run, shared: &Shared<S>) -> Result<Self, String>;
}

pub(super) mod sealed {
    /// A parameter, whatever the app's settings are: all that can be asked when their type is not known.
    #[diagnostic::on_unimplemented(
        message = "a handler cannot ask for `{Self}`",
        label = "cannot be asked for",
        note = "a handler may ask for `Config<S>`, `State<T>`, `Payload<T>`, `Headers` and `RequestId`, all from `postback`",
        note = "a value that is given with `App::state(value)` is asked for as `State<T>`, the body of the request as \
                `Payload<T>`"
    )]
    pub trait Parameter: Sized + Send + 'static {}
}

/// What all handlers of an app share.
pub struct Shared<S> {
    pub(crate) settings: Arc<S>,
    pub(crate) states: States,
}

/// Values by their type.
#[derive(Clone, Default)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Adds a value; whether there was one of its type already.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        self.0.insert(TypeId::of::<T>(), Arc::new(value)).is_some()
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| Arc::clone(value).downcast().ok())
    }
}

/// The user's own settings: the table `[config]`, as the type that `main` takes. Dereferences to it; cheap to clone.
#[derive(Debug)]
pub struct Config<S>(Arc<S>);

impl<S> Config<S> {
    /// For calling a handler by hand, as tests do.
    pub fn new(settings: S) -> Self {
        Self(Arc::new(settings))
    }
}

impl<S> From<Arc<S>> for Config<S> {
    fn from(settings: Arc<S>) -> Self {
        Self(settings)
    }
}

impl<S> Clone for Config<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Deref for Config<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S: Send + Sync + 'static> sealed::Parameter for Config<S> {}

impl<S: Send + Sync + 'static> Extract<S> for Config<S> {
    fn extract(_: &Run, shared: &Shared<S>) -> Result<Self, String> {
        Ok(Self(Arc::clone(&shared.settings)))
    }
}

/// A value that the app was given with [`App::state`](crate::App::state): a model, a pool. Dereferences to it; cheap to clone.
#[derive(Debug)]
pub struct State<T>(Arc<T>);

impl<T> State<T> {
    /// For calling a handler by hand, as tests do.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The value, shared.
    pub fn into_inner(self) -> Arc<T> {
        self.0
    }
}

impl<T> From<Arc<T>> for State<T> {
    fn from(value: Arc<T>) -> Self {
        Self(value)
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> sealed::Parameter for State<T> {}

impl<S, T: Send + Sync + 'static> Extract<S> for State<T> {
    fn fault(shared: &Shared<S>) -> Option<String> {
        let missing = shared.states.get::<T>().is_none();
        missing.then(|| format!("it asks for State<{0}>, but no {0} was given with App::state", type_name::<T>()))
    }

    fn extract(_: &Run, shared: &Shared<S>) -> Result<Self, String> {
        // Checked at start, so this is not seen; it is an error all the same and no panic.
        shared.states.get().map(Self).ok_or_else(|| format!("no State<{}> was given", type_name::<T>()))
    }
}

/// The headers that the request was posted with, but for those that carry credentials, which are not kept: in no run, and not
/// in the store. Dereferences to [`http::HeaderMap`].
///
/// A header carries a credential if the last word of its name is `authorization`, `authentication`, `auth`, `cookie`, `secret`,
/// `password`, `passphrase`, `credential`, `assertion`, `jwt`, `bearer`, `otp` or ends in `token`, such as `x-csrf-token`; or if
/// it is `key`, such as `x-api-key`, and not a key by which something is found, such as `idempotency-key`, `x-partition-key`
/// or `x-cache-key`.
#[derive(Clone, Debug)]
pub struct Headers(Arc<HeaderMap>);

impl Headers {
    /// For calling a handler by hand, as tests do.
    pub fn new(headers: HeaderMap) -> Self {
        Self(Arc::new(headers))
    }

    /// The header as text; `None` if it is not there, or not visible ASCII.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Deref for Headers {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        &self.0
    }
}

impl sealed::Parameter for Headers {}

impl<S> Extract<S> for Headers {
    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(Self(Arc::clone(&run.headers)))
    }
}

impl sealed::Parameter for RequestId {}

impl<S> Extract<S> for RequestId {
    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        Ok(run.id.clone())
    }
}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "handlers are async, and these have nothing to wait for")]
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

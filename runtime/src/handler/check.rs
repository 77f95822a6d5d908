//! What `#[debug_handler]` asks the compiler: one question a function, so that each gets an answer of its own.

use std::fmt::Display;

use serde::Serialize;

use super::Extract;
use super::extract::sealed::Parameter;

/// Whether a handler may ask for it, whatever the app's settings are.
pub fn parameter<P: Parameter>() {}

/// Whether a handler may ask for it in an app with these settings.
pub fn parameter_with<P: Extract<S>, S>() {}

/// Whether what the handler returns can be told.
pub fn output<F: Future<Output: Output>>(_: &F) {}

/// Whether the handler can run on a thread that is not the one that it began on.
pub fn send<F: Send>(_: &F) {}

/// What a handler returns.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "has to be a `Result`",
    note = "it returns `Result<T, E>` with `T: Serialize` and `E: Display`; what cannot fail returns \
            `Result<T, std::convert::Infallible>`"
)]
pub trait Output {}

impl<T: Serialize, E: Display> Output for Result<T, E> {}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "handlers are async, and these have nothing to wait for")]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;

    use crate::handler::{Config, Headers, Payload, State};
    use crate::id::RequestId;
    use crate::{async_handler, debug_handler};

    struct Settings {
        webhook_url: String,
    }

    type Own = Config<Settings>;

    // All of these have to compile, without a warning; what must not is among the mistakes of `tests/ui`.

    #[debug_handler]
    async fn nothing() -> Result<(), Infallible> {
        Ok(())
    }

    #[debug_handler(Settings)]
    #[async_handler(webhook = config.webhook_url)]
    async fn above(config: Own, state: State<Vec<u8>>, _: Headers, request_id: RequestId) -> Result<usize, String> {
        Ok(state.len())
    }

    #[async_handler(webhook = config.webhook_url)]
    #[debug_handler(crate = ::postback)]
    async fn below(
        config: Config<Settings>,
        Payload(body): Payload<Bytes>,
        request_id: RequestId,
    ) -> std::io::Result<impl serde::Serialize> {
        Ok(body.len())
    }

    #[debug_handler]
    async fn of_an_alias(config: Own) -> Result<usize, String> {
        Ok(config.webhook_url.len())
    }

    #[debug_handler]
    fn with_a_future(#[cfg(test)] id: RequestId, #[cfg(not(test))] id: u8) -> impl Future<Output = Result<(), String>> {
        drop(id);
        std::future::ready(Ok(()))
    }

    mod without_prelude {
        #![no_implicit_prelude]

        #[::postback::debug_handler]
        pub(super) async fn r#try(
            id: ::postback::RequestId,
        ) -> ::std::result::Result<::postback::RequestId, super::Text> {
            ::std::result::Result::Ok(id)
        }
    }

    type Text = String;

    #[tokio::test]
    async fn a_checked_handler_is_the_function_that_it_was() {
        let settings = || Config::new(Settings { webhook_url: String::new() });
        let id = RequestId::generate();
        nothing().await.unwrap();
        with_a_future(id.clone()).await.unwrap();
        assert_eq!(of_an_alias(settings()).await.unwrap(), 0);
        assert_eq!(without_prelude::r#try(id.clone()).await.unwrap(), id);
        let headers = Headers::new(http::HeaderMap::new());
        assert_eq!(above(settings(), State::new(vec![1, 2]), headers, id.clone()).await.unwrap(), 2);
        below(settings(), Payload(Bytes::from_static(b"abc")), id).await.unwrap();
    }
}

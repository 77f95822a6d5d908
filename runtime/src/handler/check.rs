//! The checks that `#[debug_handler]` makes the compiler do: one function per check, so that each mistake gets its own
//! error.

use std::fmt::Display;

use serde::Serialize;

use super::Extract;
use super::Parameter;

/// Compiles only if a handler can take `P` as a parameter. Generated code calls this function without naming the type
/// of the app's settings.
pub fn parameter<P: Parameter>() {}

/// Compiles only if a handler can take `P` as a parameter in an app whose settings have the type `S`.
pub fn parameter_with<P: Extract<S>, S>() {}

/// Compiles only if the output of the handler's future can be reported.
pub fn output<F: Future<Output: Output>>(_: &F) {}

/// Compiles only if the handler's future is `Send`.
pub fn send<F: Send>(_: &F) {}

/// The trait of the types that a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "must be a `Result`",
    note = "return `Result<T, E>` with `T: Serialize` and `E: Display`; if the handler cannot fail, return \
            `Result<T, std::convert::Infallible>`"
)]
pub trait Output {}

impl<T: Serialize, E: Display> Output for Result<T, E> {}

/// What a handler of a batch returns.
impl<T: Serialize, E: Display> Output for Vec<Result<T, E>> {}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "handlers are async functions, and these have nothing to await")]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;

    use crate::handler::{Attempt, CancelReason, Cancellation, Config, Deadline, Headers, Payload, Progress, State};
    use crate::{async_handler, debug_handler};
    use postback_wire::id::RequestId;

    struct Settings {
        webhook_url: String,
    }

    type Own = Config<Settings>;

    // The handlers in this module must compile without a warning. Handlers that must fail to compile are in `tests/ui`.

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

    #[debug_handler]
    async fn of_its_run(
        progress: Progress,
        attempt: Attempt,
        cancellation: Cancellation,
        deadline: Deadline,
    ) -> Result<u32, String> {
        progress.report(1.0, "done");
        let goes_on = !cancellation.is_cancelled() && !deadline.remaining().is_zero();
        if goes_on { Ok(attempt.number()) } else { Err("stopped".to_owned()) }
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
        let (attempt, stopped) = (Attempt::new(2, true), Cancellation::because(CancelReason::Timeout));
        let of_run = of_its_run(Progress::default(), attempt.clone(), Cancellation::default(), Deadline::default());
        assert_eq!(of_run.await, Ok(2));
        let of_run = of_its_run(Progress::default(), attempt, stopped, Deadline::default());
        assert_eq!(of_run.await, Err("stopped".to_owned()));
        assert_eq!(of_an_alias(settings()).await.unwrap(), 0);
        assert_eq!(without_prelude::r#try(id.clone()).await.unwrap(), id);
        let headers = Headers::new(http::HeaderMap::new());
        assert_eq!(above(settings(), State::new(vec![1, 2]), headers, id.clone()).await.unwrap(), 2);
        below(settings(), Payload(Bytes::from_static(b"abc")), id).await.unwrap();
    }
}

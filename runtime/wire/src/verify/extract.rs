//! The axum extractor for [`Verified`] webhooks.

use std::any::{Any, TypeId};
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRef, FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::{Verified, VerifyError, head};
use crate::line::{Causes, Escaped};
use crate::secret::VerifyingKey;
use crate::time::Clock;

/// The keys with which a receiver verifies webhooks. Put the keys into the state of an axum router. The extractor
/// [`Verified`] reads the keys from this state.
///
/// The router's state must be a `VerifyingKeys`, or `VerifyingKeys` must implement `FromRef<S>` for the state's type
/// `S`. Give the old and the new key while a secret is being replaced. Cloning a `VerifyingKeys` is cheap: the clone
/// only increments a reference count.
///
/// ```
/// use postback::{VerifyingKey, VerifyingKeys};
///
/// #[derive(Clone)]
/// struct AppState {
///     keys: VerifyingKeys,
/// }
///
/// impl axum::extract::FromRef<AppState> for VerifyingKeys {
///     fn from_ref(state: &AppState) -> Self {
///         state.keys.clone()
///     }
/// }
///
/// let texts = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="];
/// let keys = texts.into_iter().map(str::parse::<VerifyingKey>).collect::<Result<VerifyingKeys, _>>()?;
/// let state = AppState { keys };
/// # Ok::<(), postback::SecretError>(())
/// ```
#[derive(Clone, Debug)]
pub struct VerifyingKeys(Arc<[VerifyingKey]>);

impl FromIterator<VerifyingKey> for VerifyingKeys {
    fn from_iter<I: IntoIterator<Item = VerifyingKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl<K: Into<VerifyingKey>> From<K> for VerifyingKeys {
    fn from(key: K) -> Self {
        Self(Arc::new([key.into()]))
    }
}

impl Deref for VerifyingKeys {
    type Target = [VerifyingKey];

    fn deref(&self) -> &[VerifyingKey] {
        &self.0
    }
}

impl<S, T> FromRequest<S> for Verified<T>
where
    S: Send + Sync,
    T: DeserializeOwned + 'static,
    VerifyingKeys: FromRef<S>,
{
    type Rejection = VerifiedRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, VerifiedRejection> {
        let keys = VerifyingKeys::from_ref(state);
        let headers = request.headers().clone();
        // Invariant: the headers are checked before the body is read.
        let head = head(&keys, &headers, Clock::system().now()).map_err(Fault::Unverified)?;
        let body = Bytes::from_request(request, state).await.map_err(Fault::Body)?;
        let Verified { id, timestamp, .. } = head.verify(&keys, &body).map_err(Fault::Unverified)?;
        let body = read(&body).inspect_err(|fault| log_misfit(&id, fault))?;
        Ok(Self { id, timestamp, body })
    }
}

/// Logs that a webhook is genuine, but its body cannot be parsed as the type in the handler.
///
/// The answer to the sender has the status 400 and no details, and the sender sends the webhook again for days. So the
/// log of the receiver must have the details.
fn log_misfit(id: &str, fault: &Fault) {
    tracing::error!(
        webhook_id = id,
        "the webhook {id} is genuine, but its body does not fit the handler's type; it gets the answer 400 and will be sent again: {}",
        Escaped(&Causes(fault).to_string()),
    );
}

fn read<T: DeserializeOwned + 'static>(body: &Bytes) -> Result<T, Fault> {
    if TypeId::of::<T>() == TypeId::of::<Bytes>() {
        let body: Box<dyn Any> = Box::new(body.clone());
        if let Ok(body) = body.downcast() {
            return Ok(*body);
        }
    }
    serde_json::from_slice(body).map_err(Fault::Json)
}

/// The reason why the extractor [`Verified`] refused a webhook.
///
/// The response that is made from this error has one line of text and one of these statuses: 400 if a header or the
/// body is malformed, 401 if the signature or its time is wrong, 413 if the body is too long, 500 if the receiver has
/// no key.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct VerifiedRejection(#[from] Fault);

crate::line::debug_as_message!(VerifiedRejection);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the body cannot be read")]
    Body(#[source] BytesRejection),
    #[error(transparent)]
    Unverified(VerifyError),
    #[error("the body is not the JSON that this receiver expects")]
    Json(#[source] serde_json::Error),
}

impl VerifiedRejection {
    /// Returns the HTTP status of the response that is made from this error.
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Fault::Body(rejection) => rejection.status(),
            Fault::Unverified(VerifyError::NoKey) => StatusCode::INTERNAL_SERVER_ERROR,
            Fault::Unverified(error) if !error.is_malformed() => StatusCode::UNAUTHORIZED,
            Fault::Unverified(_) | Fault::Json(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Makes the response to the webhook's sender. The text of the response does not say which part of the JSON is wrong,
/// or that the receiver has no key.
impl IntoResponse for VerifiedRejection {
    fn into_response(self) -> Response {
        let status = self.status();
        let text = match &self.0 {
            Fault::Body(_) if status == StatusCode::PAYLOAD_TOO_LARGE => {
                "the body is too long for this receiver".to_owned()
            }
            Fault::Unverified(VerifyError::NoKey) => "webhooks cannot be verified here at the moment".to_owned(),
            fault => fault.to_string(),
        };
        (status, text + "\n").into_response()
    }
}

#[cfg(test)]
mod tests;

//! [`Verified`] as an axum extractor.

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

/// The keys of a receiver, as [`Verified`] finds them in the state of an axum router: the state is this, or gives it by
/// `FromRef`. Cheap to clone. Several while a secret is replaced.
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
        // Before a byte of the body is waited for.
        let head = head(&keys, &headers, Clock::system().now()).map_err(Fault::Unverified)?;
        let body = Bytes::from_request(request, state).await.map_err(Fault::Body)?;
        let Verified { id, timestamp, .. } = head.verify(&keys, &body).map_err(Fault::Unverified)?;
        let body = read(&body).inspect_err(|fault| log_misfit(&id, fault))?;
        Ok(Self { id, timestamp, body })
    }
}

/// A genuine webhook that the handler's type does not fit would be sent again for days, and its sender is told no more than a
/// 400: so the receiver's own log says why.
fn log_misfit(id: &str, fault: &Fault) {
    tracing::error!(
        webhook_id = id,
        "the webhook {id} is genuine, but its body does not fit the handler's type, so it is answered 400 and will be sent again: {}",
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

/// Why [`Verified`] was refused to a handler. As a response: 400 where headers or body are not in their form, 401 where the
/// signature or its time does not hold, 413 where the body is too long, with one line of text; 500 where the receiver has no key.
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
    #[error("the body is not the JSON that is expected here")]
    Json(#[source] serde_json::Error),
}

impl VerifiedRejection {
    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        match &self.0 {
            Fault::Body(rejection) => rejection.status(),
            Fault::Unverified(VerifyError::NoKey) => StatusCode::INTERNAL_SERVER_ERROR,
            Fault::Unverified(error) if !error.is_malformed() => StatusCode::UNAUTHORIZED,
            Fault::Unverified(_) | Fault::Json(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The sender reads no more than the message: what did not fit in the JSON, or that there is no key, is the receiver's own.
impl IntoResponse for VerifiedRejection {
    fn into_response(self) -> Response {
        let status = self.status();
        let text = match &self.0 {
            Fault::Body(_) if status == StatusCode::PAYLOAD_TOO_LARGE => {
                "the body is longer than is taken here".to_owned()
            }
            Fault::Unverified(VerifyError::NoKey) => "webhooks cannot be verified here at the moment".to_owned(),
            fault => fault.to_string(),
        };
        (status, text + "\n").into_response()
    }
}

#[cfg(test)]
mod tests;

//! The check of `server.admin_token`, for calls over the network.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use ring::digest::{SHA256, digest};

use super::PATH;
use super::answer::Problem;
use super::audit::Actor;
use crate::access::{Access, ClientAddress, Session, Sessions, Unauthenticated};
use crate::pages;
use crate::problem::{self, Code};

/// The digest of `server.admin_token`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AdminToken([u8; 32]);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

impl AdminToken {
    /// The shortest token, in bytes. A shorter one could be guessed.
    pub(crate) const MIN_LEN: usize = 16;
    /// The longest token, in bytes.
    pub(crate) const MAX_LEN: usize = 512;

    /// Keeps the digest of this token. `None`: the token is too short or too long, or has characters that a header
    /// cannot carry.
    pub(crate) fn new(token: &str) -> Option<Self> {
        let len = Self::MIN_LEN..=Self::MAX_LEN;
        (len.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(sha256(token)))
    }

    /// Whether these headers carry the token. The time that this takes does not depend on how much of a wrong token is
    /// right.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, token)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else { return false };
        let given = sha256(token.trim_start_matches(' '));
        let differs = self.0.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b));
        scheme.eq_ignore_ascii_case("bearer") && differs == 0
    }
}

/// The gate of the operator's API on the server's own address. Its token may change while the server runs. Without a
/// token it lets only sessions of the dashboard pass, and answers others as if nothing were there.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    token: Arc<RwLock<Option<AdminToken>>>,
    /// The random token in the link to the dashboard. It opens sessions while there is no `token`, and nothing else.
    link: Option<AdminToken>,
    sessions: Sessions,
}

impl Gate {
    pub(crate) fn new(token: Option<AdminToken>, link: Option<AdminToken>, sessions: Sessions) -> Self {
        Self { token: Arc::new(RwLock::new(token)), link, sessions }
    }

    pub(crate) fn replace(&self, token: Option<AdminToken>) {
        let mut now = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if *now != token {
            self.sessions.close_all();
        }
        *now = token;
    }

    fn token(&self) -> Option<AdminToken> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the router that lets calls with the token pass to `router`, under [`PATH`]. A caller that
    /// tries many tokens has to wait, as one that guesses tokens of callers.
    pub(crate) fn guarding(self, router: Router, access: Arc<Access>) -> Router {
        let check = move |mut request: Request, next: Next| {
            let passed = self.check(&request, &access);
            async move {
                match passed {
                    Ok(actor) => {
                        let is_for_page = matches!(actor, Actor::Dashboard { .. });
                        request.headers_mut().remove(AUTHORIZATION);
                        request.headers_mut().remove(COOKIE);
                        request.extensions_mut().insert(actor);
                        let mut response = next.run(request).await;
                        if is_for_page {
                            pages::protect_data(response.headers_mut());
                        }
                        response
                    }
                    Err(problem) => problem.into_response(),
                }
            }
        };
        Router::new().nest(PATH, router.layer(from_fn(check)))
    }

    /// Whether a call with these headers comes from the operator. Returns `None` if there is no token by which an
    /// operator is known.
    pub(crate) fn is_operator(
        &self,
        headers: &HeaderMap,
        client: Option<ClientAddress>,
        access: &Access,
    ) -> Option<Result<(), problem::Problem>> {
        let token = self.token()?;
        Some(check(&token, headers, client, access))
    }

    /// Whether a call with these headers may open a session of the dashboard: it brings the token of the operator, or
    /// that of the link while there is no other.
    pub(crate) fn may_log_in(
        &self,
        headers: &HeaderMap,
        client: Option<ClientAddress>,
        access: &Access,
    ) -> Result<(), problem::Problem> {
        match self.token().or_else(|| self.link.clone()) {
            Some(token) => check(&token, headers, client, access),
            None => Err(Problem::unauthorized().into()),
        }
    }

    fn check(&self, request: &Request, access: &Access) -> Result<Actor, Problem> {
        let client: Option<ClientAddress> = request.extensions().get().copied();
        let from = client.map(|ClientAddress(address)| address);
        let headers = request.headers();
        if !headers.contains_key(AUTHORIZATION) {
            match self.sessions.of(headers) {
                // A browser sends the cookie on its own, so the call must come from the dashboard's own page.
                Session::Open => {
                    return match pages::of_own_page(request.method(), request.uri(), headers) {
                        Ok(()) => Ok(Actor::Dashboard { from }),
                        Err(why) => Err(Problem::new(Code::Forbidden, why.to_string())),
                    };
                }
                Session::Unknown => return Err(refusal(&Unauthenticated::Unknown, client, access)),
                Session::None => {}
            }
        }
        match self.is_operator(headers, client, access) {
            None => Err(Problem::unknown_path(request.uri().path())),
            Some(Err(problem)) => Err(problem.into()),
            Some(Ok(())) => Ok(Actor::AdminToken { from }),
        }
    }
}

fn check(
    token: &AdminToken,
    headers: &HeaderMap,
    client: Option<ClientAddress>,
    access: &Access,
) -> Result<(), problem::Problem> {
    if token.is_in(headers) {
        return Ok(());
    }
    let why = if headers.contains_key(AUTHORIZATION) { Unauthenticated::Unknown } else { Unauthenticated::Missing };
    Err(refusal(&why, client, access).into())
}

/// Counts a call that is refused, and makes its answer.
fn refusal(why: &Unauthenticated, client: Option<ClientAddress>, access: &Access) -> Problem {
    let wait = client.and_then(|client| access.failed(client, why));
    wait.map_or_else(Problem::unauthorized, Problem::too_often)
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_passes() {
        let token = AdminToken::new("0123456789abcdef").unwrap();
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            token.is_in(&headers)
        };
        assert!(with(&["Bearer 0123456789abcdef"]) && with(&["bearer 0123456789abcdef"]));
        for wrong in [
            &["Bearer 0123456789abcdeF"][..],
            &["Bearer 0123456789abcde"],
            &["Bearer 0123456789abcdef "],
            &["Basic 0123456789abcdef"],
            &["0123456789abcdef"],
            &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
            &[],
        ] {
            assert!(!with(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "AdminToken(…)");
    }

    #[test]
    fn a_token_that_can_be_guessed_or_not_sent_is_refused() {
        assert_eq!(AdminToken::new("short"), None);
        assert_eq!(AdminToken::new(&"x".repeat(513)), None);
        assert_eq!(AdminToken::new("0123456789abcdef with a space"), None);
        assert_eq!(AdminToken::new("0123456789abcdéf"), None);
    }
}

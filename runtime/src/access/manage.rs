//! Lists, makes and revokes tokens. The command `tokens` and the admin API both call these functions.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::host_pattern::HostPattern;
use super::rate::Rate;
use super::secret::{Hash, NewSecret};
use super::token::{Scope, Source, Terms, TokenInfo};
use super::{Access, Options};
use postback_store::{self as store, NewAudit, NewToken, Store, TokenAdded, TokenRecord, TokenRevoked};
use postback_wire::time::{Clock, Timestamp};

/// The longest name of a token, in characters.
const MAX_NAME: usize = 100;
/// The most routes and the most hosts of a token.
const MAX_LISTED: usize = 100;
/// The longest route of a token, in bytes.
const MAX_ROUTE: usize = 200;

/// What somebody asks for who wants a new token. What is left out is not limited.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scopes: Option<Vec<Scope>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<String>,
    /// When the token expires, in the form of RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) webhook_hosts: Vec<HostPattern>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_queued: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_queued_bytes: Option<u64>,
}

/// A token as it is shown: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) source: Source,
    #[serde(flatten)]
    pub(crate) terms: Terms,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<String>,
}

/// A new token, with its secret. Nobody can show the secret again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Created {
    pub(crate) token: String,
    #[serde(flatten)]
    pub(crate) view: TokenView,
}

/// The reason why a token was not listed, made or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManageError {
    #[error("{detail}")]
    Invalid {
        /// The member of the [`TokenRequest`] that is wrong.
        member: &'static str,
        detail: String,
    },
    #[error("there is no token {0}")]
    Unknown(String),
    #[error("the token {0} is in the settings; remove its [[server.token]] there, and reload or restart the server")]
    OfSettings(String),
    #[error("there are {0} tokens already; revoke some")]
    TooMany(usize),
    #[error("the operating system returns no random bytes")]
    Random,
    #[error("the tokens cannot be read or changed")]
    Store(#[from] store::Error),
}

impl TokenRequest {
    /// Checks what was asked for. Returns the name, the terms and the time of expiry.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(String, Terms, Option<Timestamp>), ManageError> {
        let invalid = |member, detail: String| Err(ManageError::Invalid { member, detail });
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return invalid(
                "name",
                format!("a token needs a name of 1 to {MAX_NAME} characters, without control characters"),
            );
        }
        let scopes = self.scopes.clone().unwrap_or_else(|| Scope::ALL.to_vec());
        if scopes.is_empty() {
            return invalid("scopes", "a token needs at least one of the scopes submit, read and cancel".to_owned());
        }
        if self.routes.len() > MAX_LISTED || self.webhook_hosts.len() > MAX_LISTED {
            let member = if self.routes.len() > MAX_LISTED { "routes" } else { "webhook_hosts" };
            return invalid(member, format!("a token has at most {MAX_LISTED} routes and {MAX_LISTED} webhook hosts"));
        }
        if let Some(route) = self.routes.iter().find(|route| !route.starts_with('/') || route.len() > MAX_ROUTE) {
            let route = route.chars().take(MAX_ROUTE).collect::<String>();
            return invalid(
                "routes",
                format!("{route:?} is not a route; a route begins with / and has at most {MAX_ROUTE} bytes"),
            );
        }
        if self.max_queued == Some(0) || self.max_queued_bytes == Some(0) {
            return invalid(
                if self.max_queued == Some(0) { "max_queued" } else { "max_queued_bytes" },
                "max_queued and max_queued_bytes are at least 1; leave out the scope submit instead".to_owned(),
            );
        }
        let expires = self.expires.as_deref().map(|text| {
            parse_time(text).ok_or_else(|| ManageError::Invalid {
                member: "expires",
                detail: format!("{text:?} is not a time; write one such as \"2027-01-31T00:00:00Z\""),
            })
        });
        let expires = expires.transpose()?;
        if expires.is_some_and(|expires| expires <= now) {
            return invalid("expires", "a token must not expire before it is made".to_owned());
        }
        let terms = Terms {
            scopes: scopes.into_iter().collect(),
            routes: self.routes.clone(),
            webhook_hosts: self.webhook_hosts.clone(),
            rate: self.rate,
            max_queued: self.max_queued,
            max_queued_bytes: self.max_queued_bytes,
        };
        Ok((name.to_owned(), terms, expires))
    }
}

/// Reads a time in the form of RFC 3339, or a day, which means its first moment in UTC.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}

/// Returns the token of a record, or `None` if this program cannot read its terms.
pub(super) fn known(record: &TokenRecord) -> Option<TokenInfo> {
    let terms = serde_json::from_str(&record.terms).map_err(|error| {
        let (id, name) = (&record.id, &record.name);
        tracing::error!("the token {id} ({name}) is not accepted, because its terms cannot be read: {error}");
    });
    let token = TokenInfo::new(&record.id, &record.name, Hash::stored(record.hash), Source::Store, terms.ok()?);
    let (created, expires, revoked) = (Some(record.created), record.expires, record.revoked);
    Some(TokenInfo { created, expires, revoked, ..token })
}

/// Lists all tokens of the settings and of the store, those of the settings first. `access` is that of the running
/// server, if one runs.
pub(crate) async fn list(
    store: &Store,
    options: &Options,
    access: Option<&Access>,
) -> Result<Vec<TokenView>, ManageError> {
    let (records, uses) = (store.tokens().await?, store.token_uses().await?);
    let live = |id: &str| access.and_then(|access| access.registry.get(id)?.last_used());
    let of_store = records.iter().filter_map(known);
    let tokens = options.tokens.iter().cloned().chain(of_store);
    Ok(tokens.map(|token| view(&token, live(&token.id).max(uses.get(&*token.id).copied()))).collect())
}

fn view(token: &TokenInfo, last_used: Option<Timestamp>) -> TokenView {
    let shown = |time: Option<Timestamp>| time.map(|time| time.to_string());
    TokenView {
        id: token.id.to_string(),
        name: token.name.clone(),
        source: token.source,
        terms: token.terms.clone(),
        created: shown(token.created),
        expires: shown(token.expires),
        revoked: shown(token.revoked),
        last_used: shown(last_used),
    }
}

/// Makes a token in the store. `by` says who makes it, for the audit. `access` is that of the running server, if one
/// runs: it accepts the token at once.
pub(crate) async fn create(
    store: &Store,
    access: Option<&Access>,
    clock: &Clock,
    by: &str,
    request: &TokenRequest,
) -> Result<Created, ManageError> {
    let now = clock.now();
    let (name, terms, expires) = request.check(now)?;
    let secret = NewSecret::generate().map_err(|_| ManageError::Random)?;
    let json = serde_json::to_string(&terms)
        .map_err(|error| ManageError::Invalid { member: "name", detail: error.to_string() })?;
    let token = TokenInfo::new(secret.id(), &name, secret.hash(), Source::Store, terms);
    let token = TokenInfo { created: Some(now), expires, ..token };
    let row = NewToken {
        id: token.id.to_string(),
        name: name.clone(),
        hash: token.hash.bytes(),
        terms: json.clone(),
        created: now,
        expires,
    };
    let audit = NewAudit::new(by, "token.new", &token.id, format!("{name} {json}"));
    match store.add_token(row, audit).await? {
        TokenAdded::Added => {}
        TokenAdded::NameTaken => {
            return Err(ManageError::Invalid {
                member: "name",
                detail: format!(
                    "there is a token with the name {name:?} already; revoke it first, or choose another name"
                ),
            });
        }
        TokenAdded::TooMany(most) => return Err(ManageError::TooMany(most)),
    }
    let created = Created { token: secret.reveal().to_owned(), view: view(&token, None) };
    if let Some(access) = access {
        access.add(token);
    }
    Ok(created)
}

/// Revokes a token of the store, by its id or its name. A running server refuses the token at once. The requests of the
/// token stay, and go on.
pub(crate) async fn revoke(
    store: &Store,
    options: &Options,
    access: Option<&Access>,
    by: &str,
    id_or_name: &str,
) -> Result<TokenView, ManageError> {
    let unknown = || ManageError::Unknown(id_or_name.to_owned());
    let records = store.tokens().await?;
    let by_id = records.iter().find(|record| record.id == id_or_name);
    let mut by_name = records.iter().filter(|record| record.revoked.is_none() && record.name == id_or_name);
    let Some(record) = by_id.or_else(|| by_name.next()) else {
        let is_set = |token: &&TokenInfo| &*token.id == id_or_name || token.name == id_or_name;
        let of_settings = options.tokens.iter().find(is_set);
        return Err(of_settings.map_or_else(unknown, |token| ManageError::OfSettings(token.name.clone())));
    };
    let audit = NewAudit::new(by, "token.revoke", &record.id, record.name.clone());
    let at = match store.revoke_token(&record.id, audit).await? {
        TokenRevoked::At(at) => at,
        TokenRevoked::Unknown => return Err(unknown()),
    };
    if let Some(access) = access {
        access.registry.revoke(&record.id, at);
    }
    let used: HashMap<_, _> = store.token_uses().await?;
    let revoked = TokenRecord { revoked: Some(at), ..record.clone() };
    let token = known(&revoked).ok_or_else(unknown)?;
    Ok(view(&token, used.get(&record.id).copied()))
}

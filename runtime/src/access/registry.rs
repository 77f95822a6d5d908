//! The tokens that the server knows now, from the settings and from the store.
//!
//! Readers take the lock only to look up one token or to clone the map. Changes are rare.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::secret::{Hash, NotAToken, Presented};
use super::token::{Source, TokenInfo};
use postback_store::TokenRecord;
use postback_wire::time::Timestamp;

/// The reason why a caller has no valid token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthenticated {
    #[error("this call needs a token: send the header `authorization: Bearer pbk_…`")]
    Missing,
    #[error("the header `authorization` is not valid; send one header with `Bearer`, a space and the token")]
    Scheme,
    #[error("{0}")]
    NotAToken(#[from] NotAToken),
    #[error("the token is not known to this server")]
    Unknown,
    #[error("the token was revoked at {0}")]
    Revoked(Timestamp),
    #[error("the token expired at {0}")]
    Expired(Timestamp),
}

impl Unauthenticated {
    /// Returns the word for the reason, which is a label of the metric.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Scheme | Self::NotAToken(NotAToken::Form) => "malformed",
            Self::NotAToken(NotAToken::Checksum) => "mistyped",
            Self::Unknown => "unknown",
            Self::Revoked(_) => "revoked",
            Self::Expired(_) => "expired",
        }
    }
}

type ById = HashMap<Arc<str>, Arc<TokenInfo>>;

/// All tokens that the server knows.
#[derive(Default)]
pub(super) struct Registry {
    tokens: RwLock<ById>,
    /// A digest of the rows of the store that were read last.
    read: AtomicU64,
}

impl Registry {
    /// Finds the token that a caller has presented, and checks that it is valid.
    pub(super) fn find(&self, presented: Presented<'_>, now: Timestamp) -> Result<Arc<TokenInfo>, Unauthenticated> {
        let hash = presented.hash();
        let known = self.read().get(presented.id()).cloned();
        // If the id is not known, the hash is compared all the same, so that the time does not tell.
        let stored = known.as_ref().map_or(Hash::stored([0; 32]), |token| token.hash);
        let is_right = stored == hash;
        let token = known.filter(|_| is_right).ok_or(Unauthenticated::Unknown)?;
        if let Some(revoked) = token.revoked {
            return Err(Unauthenticated::Revoked(revoked));
        }
        match token.expires {
            Some(expires) if token.is_expired(now) => Err(Unauthenticated::Expired(expires)),
            _ => Ok(token),
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<TokenInfo>> {
        self.read().get(id).cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    pub(super) fn all(&self) -> Vec<Arc<TokenInfo>> {
        self.read().values().cloned().collect()
    }

    /// Adds a token. A token of the settings replaces a token of the store with the same id, and not the other way
    /// round. Returns whether the token was added.
    pub(super) fn add(&self, token: TokenInfo) -> bool {
        add(&mut self.write(), token)
    }

    /// Replaces the tokens of the settings. The tokens of the store stay.
    pub(super) fn replace_settings(&self, tokens: Vec<TokenInfo>) {
        self.replace(Source::Settings, tokens);
    }

    /// Replaces the tokens of the store. The tokens of the settings stay.
    pub(super) fn replace_store(&self, tokens: Vec<TokenInfo>) {
        self.replace(Source::Store, tokens);
    }

    /// Returns whether these rows of the store differ from those of the last call.
    pub(super) fn has_changed(&self, records: &[TokenRecord]) -> bool {
        let mut digest = DefaultHasher::new();
        for TokenRecord { id, hash, terms, expires, revoked, .. } in records {
            (id, hash, terms, expires, revoked).hash(&mut digest);
        }
        let digest = digest.finish();
        self.read.swap(digest, Ordering::Relaxed) != digest
    }

    fn replace(&self, source: Source, tokens: Vec<TokenInfo>) {
        let mut known = self.write();
        let before = known.extract_if(|_, token| token.source == source).collect::<ById>();
        for mut token in tokens {
            if let Some(old) = before.get(&token.id) {
                token.live = Arc::clone(&old.live);
            }
            add(&mut known, token);
        }
    }

    /// Marks a token of the store as revoked.
    pub(super) fn revoke(&self, id: &str, at: Timestamp) {
        if let Some(token) = self.write().get_mut(id).filter(|token| token.source == Source::Store) {
            let revoked = Some(token.revoked.unwrap_or(at));
            *token = Arc::new(TokenInfo { revoked, ..TokenInfo::clone(token) });
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, ById> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, ById> {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(known: &mut ById, token: TokenInfo) -> bool {
    let of_settings = |known: &Arc<TokenInfo>| known.source == Source::Settings;
    if token.source == Source::Store && known.get(&token.id).is_some_and(of_settings) {
        return false;
    }
    known.insert(Arc::clone(&token.id), Arc::new(token));
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::secret::NewSecret;
    use crate::access::token::Terms;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn token(secret: &NewSecret, source: Source) -> TokenInfo {
        TokenInfo::new(secret.id(), "ci", secret.hash(), source, Terms::default())
    }

    fn find(registry: &Registry, secret: &NewSecret) -> Result<Arc<TokenInfo>, Unauthenticated> {
        registry.find(Presented::parse(secret.reveal()).unwrap(), NOW)
    }

    #[test]
    fn only_the_right_secret_of_a_valid_token_is_accepted() {
        let registry = Registry::default();
        let [secret, other, late] = std::array::from_fn(|_| NewSecret::generate().unwrap());
        assert_eq!(find(&registry, &secret), Err(Unauthenticated::Unknown));
        // The hash is that of another token, as if somebody had guessed the id and not the secret.
        registry.add(TokenInfo { hash: other.hash(), ..token(&secret, Source::Store) });
        assert_eq!(find(&registry, &secret), Err(Unauthenticated::Unknown));
        registry.add(token(&secret, Source::Store));
        assert_eq!(&*find(&registry, &secret).unwrap().id, secret.id());
        let expires = Some(NOW);
        registry.add(TokenInfo { expires, ..token(&late, Source::Store) });
        assert_eq!(find(&registry, &late), Err(Unauthenticated::Expired(NOW)));
        let expires = Some(NOW.saturating_add(Duration::from_micros(1)));
        registry.add(TokenInfo { expires, ..token(&late, Source::Store) });
        assert!(find(&registry, &late).is_ok());
        registry.revoke(secret.id(), NOW);
        assert_eq!(find(&registry, &secret), Err(Unauthenticated::Revoked(NOW)));
    }

    #[test]
    fn a_reload_replaces_what_the_settings_said_and_nothing_else() {
        let registry = Registry::default();
        let [stays, goes, stored] = std::array::from_fn(|_| NewSecret::generate().unwrap());
        registry.replace_settings(vec![token(&stays, Source::Settings), token(&goes, Source::Settings)]);
        assert!(registry.add(token(&stored, Source::Store)));
        assert!(!registry.add(token(&stays, Source::Store)), "the settings win");
        find(&registry, &stays).unwrap().used(NOW);
        registry.replace_settings(vec![token(&stays, Source::Settings)]);
        assert!(find(&registry, &stored).is_ok() && find(&registry, &goes).is_err());
        assert_eq!(find(&registry, &stays).unwrap().last_used(), Some(NOW));
        registry.revoke(stays.id(), NOW);
        assert!(find(&registry, &stays).is_ok(), "only the settings end what they began");
    }
}

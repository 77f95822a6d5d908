//! Which endpoints took a report before. A resolver that fails into 0.0.0.0 must not end what goes to a good one.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::log::with_sources;
use crate::store::Store;

/// Endpoints that are remembered. Of the others the store is asked.
const MOST_KNOWN: usize = 16_384;
/// A look into the store that takes longer is followed by a pause: it reads every report that is kept, and who names
/// webhooks that lead nowhere decides how often that is.
const SHORT_LOOK: Duration = Duration::from_millis(20);
/// The pause, as a multiple of the look: these looks take a twentieth of the time at most.
const PAUSE: u32 = 20;

#[derive(Debug)]
pub(super) struct History {
    known: Mutex<HashSet<String>>,
    /// When the store may be asked again; held while it is asked.
    next_look: tokio::sync::Mutex<Instant>,
}

impl Default for History {
    fn default() -> Self {
        Self { known: Mutex::default(), next_look: tokio::sync::Mutex::new(Instant::now()) }
    }
}

impl History {
    /// This endpoint took a report.
    pub(super) fn note(&self, endpoint: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(endpoint) {
            return;
        }
        if known.len() >= MOST_KNOWN
            && let Some(any) = known.iter().next().cloned()
        {
            known.remove(&any);
        }
        known.insert(endpoint.to_owned());
    }

    /// Whether this endpoint took a report, as far as it is kept. Where that is not known for now, it may have.
    pub(super) async fn may_have_delivered(&self, endpoint: &str, store: &Store) -> bool {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(endpoint) {
            return true;
        }
        let mut next_look = self.next_look.lock().await;
        let begun = Instant::now();
        if begun < *next_look {
            return true;
        }
        let delivered = match store.has_delivered(endpoint).await {
            Ok(delivered) => delivered,
            Err(error) => {
                tracing::debug!("whether {endpoint} took reports before is not known: {}", with_sources(&error));
                true
            }
        };
        let took = begun.elapsed();
        if took > SHORT_LOOK {
            *next_look = Instant::now() + took * PAUSE;
        }
        if delivered {
            self.note(endpoint);
        }
        delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let history = History::default();
        for n in 0..2 * MOST_KNOWN {
            history.note(&n.to_string());
        }
        let known = history.known.lock().unwrap();
        assert_eq!(known.len(), MOST_KNOWN);
        assert!(known.contains(&(2 * MOST_KNOWN - 1).to_string()), "the last is among them");
    }
}

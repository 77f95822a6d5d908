//! Reads the settings again while the node runs, and gives the parts of the node what they can use without a restart.
//!
//! All settings are read and checked first. If anything is wrong, nothing changes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::delivery_options::delivery_options;
use super::route_limits;
use super::start_log::warn_of_access;
use crate::access::Access;
use crate::admin::model::{Reload, Settings as Shown};
use crate::admin::{Gate, Reloaded, audit};
use crate::api::PublicKeys;
use crate::delivery::{self, Control};
use crate::handler::Routes;
use crate::settings::{Changes, Settings};
use crate::{telemetry, worker};
use postback_store::Store;

/// Reads and checks the settings from all their sources. Returns the mistakes as one text.
pub(crate) type Reread = Arc<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// The parts of a node that can use other settings while they run.
pub(super) struct Reloader {
    pub(super) reread: Reread,
    /// The settings that the node uses.
    current: RwLock<Arc<Settings>>,
    /// One reload at a time has this turn.
    turn: tokio::sync::Mutex<()>,
    /// The number of nodes that share the limits of an origin.
    nodes: AtomicUsize,
    parts: Parts,
}

/// What a reload changes.
pub(super) struct Parts {
    pub(super) access: Arc<Access>,
    pub(super) gate: Gate,
    pub(super) routes: Routes,
    pub(super) delivery: Control,
    pub(super) worker: worker::Control,
    pub(super) store: Store,
    /// Where the program listens. `None`: it is not known.
    pub(super) address: Option<SocketAddr>,
}

impl Reloader {
    pub(super) fn new(reread: Reread, current: Settings, parts: Parts) -> Self {
        let (current, nodes) = (RwLock::new(Arc::new(current)), AtomicUsize::new(1));
        Self { reread, current, turn: tokio::sync::Mutex::default(), nodes, parts }
    }

    /// Returns the settings that the node uses now.
    pub(super) fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the settings as the operator's API shows them.
    pub(super) fn shown(&self) -> Shown {
        let settings = self.current();
        let file = settings.file.as_ref().map(|file| file.display().to_string());
        Shown { file, settings: settings.shown() }
    }

    /// Returns what tells the public keys that verify reports now.
    pub(super) fn public_keys(self: &Arc<Self>) -> PublicKeys {
        let reloader = Arc::clone(self);
        Box::new(move || reloader.current().public_keys())
    }

    /// Reads the settings again, and uses them as far as that needs no restart. `who` has asked for it, for the audit.
    pub(super) async fn reload(&self, who: &str) -> Reloaded {
        let _turn = self.turn.lock().await;
        let reloaded = self.try_reload().await;
        match &reloaded {
            Ok(Reload { applied, needs_restart, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                audit::record(&self.parts.store, &who, "settings.reload", "settings", &applied.join(" ")).await;
                let list = |keys: &[String]| if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
                tracing::info!(
                    "settings read again; changed now: {}; changed at the next start: {}",
                    list(applied),
                    list(needs_restart)
                );
            }
            Err(why) => tracing::error!("the settings are not used, and nothing has changed: {why}"),
        }
        reloaded
    }

    async fn try_reload(&self) -> Reloaded {
        let reread = Arc::clone(&self.reread);
        // Files are read on a thread for blocking code.
        let new = tokio::task::spawn_blocking(move || reread()).await.map_err(|error| error.to_string())??;
        let old = self.current();
        let Changes { live, at_start } = old.changes(&new);
        let effective = old.with_live(&new);
        let Parts { access, address, .. } = &self.parts;
        access.check(&effective.access, *address).map_err(|error| error.to_string())?;
        // Invariant: this is the last step that can fail, and it changes nothing if it fails.
        effective.limit(&self.parts.routes).map_err(|errors| errors.to_string())?;
        self.use_now(&old, &effective).await;
        let warnings = effective.warnings.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(effective);
        Ok(Reload { applied: live, needs_restart: at_start, warnings })
    }

    /// Puts the limits of the routes into the parts that hold to them.
    pub(super) fn apply_route_limits(&self) {
        let Parts { routes, store, worker, .. } = &self.parts;
        route_limits::apply(routes, store, worker.rooms());
    }

    /// Shares the limits of origins among this number of nodes from now on.
    pub(super) async fn share_among(&self, nodes: usize) {
        let _turn = self.turn.lock().await;
        self.nodes.store(nodes, Ordering::Relaxed);
        self.parts.delivery.replace(self.delivery_options(&self.current())).await;
    }

    fn delivery_options(&self, settings: &Settings) -> delivery::Options {
        let nodes = self.nodes.load(Ordering::Relaxed);
        delivery::Options {
            own_addresses: self.parts.address.into_iter().collect(),
            ..delivery_options(settings, nodes)
        }
    }

    async fn use_now(&self, old: &Settings, new: &Settings) {
        let Parts { access, gate, routes, worker, store, address, .. } = &self.parts;
        access.replace(&new.access);
        if old.access != new.access {
            warn_of_access(access, routes, *address);
        }
        gate.replace(new.admin_token.clone());
        self.parts.delivery.replace(self.delivery_options(new)).await;
        worker.replace(new.worker);
        store.limit_requests(new.store.max_queued, new.store.max_queued_bytes);
        self.apply_route_limits();
        if old.log.level != new.log.level {
            telemetry::set_level(&new.log.level);
        }
    }
}

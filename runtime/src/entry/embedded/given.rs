//! What a program says about the settings of its router, and how they are read: at the start, and again at a reload.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::Program;
use super::{Kind, RouterError};
use crate::settings::{self, Settings, Sources};
use postback_wire::webhook::{Webhook, shown};

/// Where the settings of a router come from, and what the program adds to them.
pub(super) struct Given {
    pub(super) program: Program,
    pub(super) file: Option<PathBuf>,
    /// A text in place of the file.
    pub(super) text: Option<String>,
    /// Single keys: the key, the value, and the name of the call for messages.
    pub(super) set: Vec<(String, String, String)>,
    pub(super) ignores_environment: bool,
    pub(super) trusted: Vec<String>,
    pub(super) listens_on: Option<SocketAddr>,
    pub(super) has_socket: bool,
    pub(super) installs_metrics: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            program: Program::new("postback", env!("CARGO_PKG_VERSION")),
            file: None,
            text: None,
            set: Vec::new(),
            ignores_environment: false,
            trusted: Vec::new(),
            listens_on: None,
            has_socket: true,
            installs_metrics: false,
        }
    }
}

impl Given {
    /// Reads and checks the settings.
    pub(super) fn load(&self) -> Result<Settings, RouterError> {
        let sources = Sources::from_process(self.program.name, self.file.clone(), self.set.clone());
        let sources = Sources { text: self.text.clone(), ..sources };
        let sources = if self.ignores_environment { Sources { env: Vec::new(), ..sources } } else { sources };
        let mut settings = settings::load(sources, |_| None).map_err(Kind::Settings)?;
        for url in &self.trusted {
            Webhook::new(url).map_err(|source| Kind::Trusted { url: shown(url), source })?;
            settings.trust(url);
        }
        Ok(settings)
    }
}

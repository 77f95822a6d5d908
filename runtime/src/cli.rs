//! The command line of a workload server.

mod check;
mod deliveries;
mod endpoints;
mod offline_store;
mod print;
mod secret;
mod serve;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::check::check;
pub(crate) use self::deliveries::Deliveries;
pub(crate) use self::endpoints::Endpoints;
pub(crate) use self::print::{print, print_error};
use self::secret::Secret;
pub(crate) use self::serve::Ready;
use crate::settings::Sources;

/// Where the inspector listens unless told otherwise.
const INSPECTOR: &str = "127.0.0.1:4000";

/// What was asked for.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Asked>,
    #[command(flatten)]
    serve: Serve,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Asked {
    #[command(flatten)]
    Settings(Command),
    /// Make signing secrets, and tell their public keys
    #[command(subcommand)]
    Secret(Secret),
}

/// Those that read settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve requests (the default)
    Serve(Serve),
    /// Check settings and routes, and say what would be served
    Check(Common),
    /// List and enable webhooks whose receivers want no more reports, while the server runs or is stopped
    #[command(subcommand)]
    Endpoints(Endpoints),
    /// Send webhooks again; the server has to be stopped
    #[command(subcommand)]
    Deliveries(Deliveries),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Listen here instead of server.listen
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Also start a receiver that prints each webhook; config.webhook_url is set to it where it is unset
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = INSPECTOR)]
    pub(crate) inspect: Option<std::net::SocketAddr>,
}

/// Arguments of every command that reads settings.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Read settings from this file instead of postback.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line. What ends here (`--help`, `--version`, a mistake) comes back as text and exit code.
    pub(crate) fn parse(name: &'static str, version: &'static str) -> Result<Asked, clap::Error> {
        let matches = Self::command().name(name).version(version).about(ABOUT).after_help(AFTER).try_get_matches()?;
        let arguments = Self::from_arg_matches(&matches)?;
        arguments.check().map_err(|error| error.format(&mut Self::command().name(name)))?;
        Ok(arguments.command.unwrap_or(Asked::Settings(Command::Serve(arguments.serve))))
    }
}

impl Arguments {
    /// `--config` may stand before a command; the other arguments of `serve` would be ignored there.
    fn check(&self) -> Result<(), clap::Error> {
        let before = [("--listen", self.serve.listen.is_some()), ("--inspect", self.serve.inspect.is_some())];
        match before.into_iter().find(|(_, given)| self.command.is_some() && *given) {
            Some((flag, _)) => Err(clap::Error::raw(
                ErrorKind::ArgumentConflict,
                format!("{flag} belongs to `serve`; write it behind that command, or leave the command out\n"),
            )),
            None => Ok(()),
        }
    }
}

const ABOUT: &str = "A workload server: takes requests over HTTP, runs them, and reports the outcome by webhook.";
const AFTER: &str =
    "Settings come from postback.toml, then environment variables such as POSTBACK_SERVER__LISTEN, then flags.";

impl Command {
    /// Whether it makes the user's own type from the table `[config]`.
    pub(crate) fn reads_config(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Check(_))
    }

    /// Where its settings come from.
    pub(crate) fn sources(&self, program: &str) -> Sources {
        let (common, listen) = match self {
            Self::Serve(serve) => (&serve.common, serve.listen.clone()),
            Self::Check(common) => (common, None),
            Self::Endpoints(endpoints) => (endpoints.common(), None),
            Self::Deliveries(deliveries) => (deliveries.common(), None),
        };
        let flags = listen.map(|text| ("server.listen".to_owned(), text, "--listen".to_owned()));
        Sources::from_process(program, common.config.clone(), flags.into_iter().collect())
    }
}

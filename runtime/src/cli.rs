//! The command line of a workload server.

mod bench;
mod check;
mod cron;
mod deliveries;
mod endpoints;
pub(crate) mod exit;
mod listen;
mod nodes;
mod offline_store;
mod print;
mod progress;
mod remote;
mod requests;
mod run;
mod secret;
mod secret_file;
mod serve;
mod shell;
mod store;
mod table;
mod tokens;
mod top;
mod trigger;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::bench::Bench;
pub(crate) use self::check::{Check, check};
pub(crate) use self::cron::Cron;
pub(crate) use self::deliveries::Deliveries;
pub(crate) use self::endpoints::Endpoints;
pub(crate) use self::listen::Listen;
pub(crate) use self::nodes::Nodes;
pub(crate) use self::print::{print, print_error, print_note, print_result};
pub(crate) use self::requests::Requests;
pub(crate) use self::run::RunRoute;
use self::secret::Secret;
pub(crate) use self::serve::Ready;
use self::shell::{Completions, ManPage};
pub(crate) use self::store::StoreCommand;
pub(crate) use self::tokens::Tokens;
pub(crate) use self::top::Top;
pub(crate) use self::trigger::Trigger;
use crate::settings::Sources;

/// The address at which the inspector listens if `--inspect` has no value.
const INSPECTOR: &str = "127.0.0.1:4000";

/// The parsed command line.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<AnyCommand>,
    #[command(flatten)]
    serve: Serve,
}

/// The commands that the program knows.
#[derive(Debug, Subcommand)]
pub(crate) enum AnyCommand {
    #[command(flatten)]
    Settings(Command),
    /// Make signing secrets, and print their public keys
    #[command(subcommand)]
    Secret(Secret),
    /// Receive webhooks on this machine, and show them in the terminal and on a page
    Listen(Listen),
    /// Print what makes a shell complete the commands of this program
    Completions(Completions),
    /// Print the man page of this program
    Man(ManPage),
}

/// The commands that read settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve requests (the default)
    Serve(Serve),
    /// Check settings and routes, and print what `serve` would use
    Check(Check),
    /// Print the OpenAPI document of the routes, as /openapi.json serves it
    Openapi(Common),
    /// List, enable and disable webhooks; reports to a disabled webhook are held
    #[command(subcommand)]
    Endpoints(Endpoints),
    /// List and show deliveries, and send webhooks again
    #[command(subcommand)]
    Deliveries(Deliveries),
    /// Make, list and revoke the tokens of callers
    #[command(subcommand)]
    Tokens(Tokens),
    /// List the processes that use the store; needs a running server
    Nodes(Nodes),
    /// Copy a store from SQLite into PostgreSQL
    #[command(subcommand)]
    Store(StoreCommand),
    /// List the schedules of the program; needs a running server
    #[command(subcommand)]
    Cron(Cron),
    /// Show live what a running server does: rates, queues, routes, origins, failures
    Top(Top),
    /// List, show, make and cancel requests, and run failed ones again; only making one needs a running server
    #[command(subcommand)]
    Requests(Requests),
    /// Run a handler once, without a server, and print its result and the reports that would be sent
    Run(RunRoute),
    /// Send sample reports to a URL, as the server would send them
    Trigger(Trigger),
    /// Put a load on a running server, and print how long its requests take
    Bench(Bench),
}

/// The arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Listen here instead of server.listen
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Also start the inspector, a receiver that prints each webhook and shows it on a page; if config.webhook_url is not
    /// set, it is set to this receiver
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = INSPECTOR)]
    pub(crate) inspect: Option<std::net::SocketAddr>,
}

/// The arguments that every command with settings has.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Read settings from this file instead of postback.toml
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
}

impl Arguments {
    /// Parses the command line. For `--help`, for `--version` and for a mistake in the command line, returns an error
    /// that contains the text to print and the exit code.
    pub(crate) fn parse(name: &'static str, version: &'static str) -> Result<AnyCommand, clap::Error> {
        let matches = Self::described(name, version).try_get_matches()?;
        let arguments = Self::from_arg_matches(&matches)?;
        arguments.check().map_err(|error| error.format(&mut Self::command().name(name)))?;
        Ok(arguments.command.unwrap_or(AnyCommand::Settings(Command::Serve(arguments.serve))))
    }

    /// Returns the command line of a program with this name.
    fn described(name: &'static str, version: &'static str) -> clap::Command {
        Self::command().name(name).version(version).about(ABOUT).after_help(format!("{AFTER}\n\n{}", exit::text()))
    }

    /// Returns the script or the page that a command about the program itself prints. `None`: it is another command.
    pub(crate) fn about_itself(
        command: &AnyCommand,
        name: &'static str,
        version: &'static str,
    ) -> Option<Result<String, String>> {
        match command {
            AnyCommand::Completions(completions) => Some(Ok(completions.script(Self::described(name, version), name))),
            AnyCommand::Man(man) => Some(man.pages(Self::described(name, version))),
            AnyCommand::Settings(_) | AnyCommand::Secret(_) | AnyCommand::Listen(_) => None,
        }
    }

    /// Returns an error if `--listen` or `--inspect` comes before a command on the command line, because the flag would
    /// have no effect there. `--config` may come before a command.
    fn check(&self) -> Result<(), clap::Error> {
        let before = [("--listen", self.serve.listen.is_some()), ("--inspect", self.serve.inspect.is_some())];
        match before.into_iter().find(|(_, given)| self.command.is_some() && *given) {
            Some((flag, _)) => Err(clap::Error::raw(
                ErrorKind::ArgumentConflict,
                format!("{flag} belongs to `serve`; write it after that command, or leave the command out\n"),
            )),
            None => Ok(()),
        }
    }
}

const ABOUT: &str = "A workload server: accepts requests over HTTP, runs them, and reports each outcome by webhook.";
const AFTER: &str =
    "Settings come from postback.toml, then environment variables such as POSTBACK_SERVER__LISTEN, then flags.";

impl Command {
    /// Whether the command reads the values of the table `[config]` into the user's settings type.
    pub(crate) fn reads_config(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Check(_) | Self::Openapi(_) | Self::Run(_))
    }

    /// Returns the sources from which this command reads the settings.
    pub(crate) fn sources(&self, program: &str) -> Sources {
        let (common, listen) = match self {
            Self::Serve(serve) => (&serve.common, serve.listen.clone()),
            Self::Check(check) => (&check.common, None),
            Self::Openapi(common) => (common, None),
            Self::Endpoints(endpoints) => (endpoints.common(), None),
            Self::Deliveries(deliveries) => (deliveries.common(), None),
            Self::Tokens(tokens) => (tokens.common(), None),
            Self::Requests(requests) => (requests.common(), None),
            Self::Nodes(nodes) => (nodes.common(), None),
            Self::Cron(cron) => (cron.common(), None),
            Self::Store(store) => (store.common(), None),
            Self::Top(top) => (top.common(), None),
            Self::Run(run) => (&run.common, None),
            Self::Trigger(trigger) => (&trigger.common, None),
            Self::Bench(bench) => (&bench.common, None),
        };
        let flags = listen.map(|text| ("server.listen".to_owned(), text, "--listen".to_owned()));
        Sources::from_process(program, common.config.clone(), flags.into_iter().collect())
    }
}

//! Runs the commands that read settings and end by themselves, and prints what they say.

use std::process::ExitCode;

use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::signals::Signals;
use super::{Failure, Program, routes};
use crate::api::Served;
use crate::app::{IntoApp, run_once};
use crate::cli::{self, Command, exit, print_result};
use crate::handler::Routes;
use crate::settings::Settings;

/// Runs a command. `serve` is not one of them.
pub(super) fn run<S, F, R>(
    command: Command,
    program: Program,
    settings: &Settings,
    build: F,
    (control, handlers): (&Runtime, &Runtime),
) -> Result<ExitCode, Failure>
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    let ca_file = settings.delivery.ca_file.as_deref();
    let text = match command {
        Command::Check(command) => {
            let routes = routes(settings, build, handlers)?;
            cli::check(settings, &routes, command.json).map_err(|text| Failure::usage(&text))?
        }
        Command::Openapi(_) => {
            let routes = routes(settings, build, handlers)?;
            Served::new(program.name, program.version, routes).document.text().to_owned()
        }
        Command::Endpoints(command) => {
            control.block_on(command.run(settings.store.clone(), ca_file)).map_err(Failure::other)?
        }
        Command::Deliveries(command) => {
            control.block_on(command.run(settings.store.clone(), ca_file)).map_err(Failure::other)?
        }
        Command::Requests(command) => {
            let client = command.client(&settings.store.place, ca_file).map_err(Failure::other)?;
            let needs_routes = client.is_none() && command.needs_routes(&settings.store.place);
            let routes = if needs_routes { routes(settings, build, handlers)? } else { Routes::default() };
            let run = command.run(client, (&settings.store, routes), ca_file);
            control.block_on(run).map_err(Failure::other)?
        }
        Command::Nodes(command) => control.block_on(command.run(&settings.store, ca_file)).map_err(Failure::other)?,
        Command::Store(command) => control.block_on(command.run(&settings.store.place)).map_err(Failure::other)?,
        Command::Cron(command) => control.block_on(command.run(&settings.store, ca_file)).map_err(Failure::other)?,
        Command::Top(top) => {
            control.block_on(top.run(&settings.store, ca_file, interrupted(control))).map_err(Failure::other)?
        }
        Command::Tokens(tokens) => control.block_on(tokens.run(settings)).map_err(Failure::other)?,
        Command::Trigger(trigger) => {
            let (text, is_fine) = control.block_on(trigger.run(settings)).map_err(Failure::other)?;
            return told_with(&text, is_fine);
        }
        Command::Run(command) => {
            let (headers, body) = command.request(settings.server.max_payload).map_err(|text| Failure::usage(&text))?;
            let mut settings = settings.clone();
            // The results of a trial go where its store is.
            settings.results = settings.results.in_memory();
            let routes = routes(&settings, build, handlers)?;
            let request = (command.route.as_str(), headers, body);
            let ran = Box::pin(run_once(&settings, routes, handlers.handle().clone(), request));
            let ran = control
                .block_on(ran)
                .map_err(|error| if error.is_mistake() { Failure::usage(&error) } else { Failure::start(&error) })?;
            let (text, is_fine) = command.shown(&ran).map_err(Failure::other)?;
            return told_with(&text, is_fine);
        }
        Command::Bench(bench) => {
            let (text, is_fine) =
                control.block_on(bench.run(settings, interrupted(control))).map_err(Failure::other)?;
            return told_with(&text, is_fine);
        }
        // `try_run` serves.
        Command::Serve(_) => String::new(),
    };
    told(&text)
}

/// Returns a future that ends when a signal asks the command to stop. From this call on, a signal no longer ends the
/// process by itself: otherwise one that comes early would leave the terminal as the command has set it.
fn interrupted(control: &Runtime) -> impl Future<Output = ()> {
    let _context = control.enter();
    let signals = Signals::listen();
    async {
        match signals {
            Ok(mut signals) => drop(signals.stop().await),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Prints the result of a command. If what the command has tried did not work, the exit code says so.
fn told_with(text: &str, is_fine: bool) -> Result<ExitCode, Failure> {
    let code = told(text)?;
    Ok(if is_fine { code } else { ExitCode::from(exit::FAILED) })
}

/// Prints the result of a command. If it cannot be printed, the exit code says so.
pub(super) fn told(text: &str) -> Result<ExitCode, Failure> {
    match print_result(text) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::from(exit::PIPE_CLOSED)),
        Err(error) => {
            Err(Failure { text: format!("standard output cannot be written: {error}"), code: exit::NO_OUTPUT })
        }
    }
}

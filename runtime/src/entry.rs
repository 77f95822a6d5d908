//! What `#[postback::main]` calls: from the command line to the exit code.

mod signals;

use std::process::ExitCode;

use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use self::signals::Signals;
use crate::app::{App, IntoApp, Node};
use crate::background::Background;
use crate::cli::{self, Arguments, Asked, Command, Ready, print, print_error};
use crate::handler::Routes;
use crate::inspector::Inspector;
use crate::line::{Causes, Escaped};
use crate::names::target;
use crate::settings::{self, ConfigTable, Settings, WEBHOOK_URL};
use crate::shutdown::Shutdown;
use crate::telemetry;

/// Threads for the HTTP API, claims, time limits and the store.
const CONTROL_THREADS: usize = 2;

/// What a program is called; `#[postback::main]` fills it in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Program {
    /// Its name, for `--help` and `--version`, and the name of its database where `store.url` says nothing.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Threads that handlers run on, where `worker.threads` says nothing; else one per core.
    pub worker_threads: Option<usize>,
}

impl Program {
    /// A program with this name and version.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, worker_threads: None }
    }

    /// Handlers run on so many threads, unless `worker.threads` says otherwise.
    #[must_use]
    pub const fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = Some(threads);
        self
    }
}

/// Runs a workload server: command line, settings, log, signals, graceful stop, exit code.
///
/// `build` is called once, before the server says that it is ready, with `[config]` as its settings type. It is what
/// [`#[postback::main]`](crate::main) calls, and the same without the attribute:
///
/// ```no_run
/// use postback::App;
///
/// #[derive(serde::Deserialize)]
/// struct Settings {}
///
/// async fn app(settings: Settings) -> App<Settings> {
///     App::new(settings)
/// }
///
/// fn main() -> std::process::ExitCode {
///     postback::run(postback::Program::new("my-workload", env!("CARGO_PKG_VERSION")), app)
/// }
/// ```
///
/// Panics are logged: it sets the panic hook. One of your own is set in `build`.
///
/// The exit code is 0 after a stop that was asked for, 2 for a mistake in command line, settings or routes, 1 for
/// everything else that kept it from serving, or from going on, and 130 when it was told twice to stop.
pub fn run<S, F, R>(program: Program, build: F) -> ExitCode
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    match try_run(program, build) {
        Ok(code) => code,
        Err(failure) => {
            print_error(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// A text for the user, and what the process ends with.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn usage(text: &dyn std::fmt::Display) -> Self {
        Self { text: text.to_string(), code: 2 }
    }

    fn start(error: &dyn std::error::Error) -> Self {
        Self { text: Causes(error).to_string(), code: 1 }
    }
}

fn try_run<S, F, R>(program: Program, build: F) -> Result<ExitCode, Failure>
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    let command = match Arguments::parse(program.name, program.version) {
        Ok(Asked::Settings(command)) => command,
        Ok(Asked::Secret(secret)) => {
            let done = secret.run().map(|()| ExitCode::SUCCESS);
            return done.map_err(|text| Failure { text, code: 1 });
        }
        Err(told) => {
            // `--help` and `--version` come here too; clap knows which stream is theirs.
            let _ = told.print();
            return Ok(u8::try_from(told.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from));
        }
    };
    let of_user = |user: &ConfigTable| command.reads_config().then(|| mistake_in_config::<S>(user, &command)).flatten();
    let mut settings =
        settings::load(command.sources(program.name), of_user).map_err(|errors| Failure::usage(&errors))?;
    telemetry::init(&settings.log);
    if matches!(command, Command::Serve(_)) {
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    log_panics();
    let thread = |error| Failure::start(&ThreadError(error));
    let control = Background::start("postback-control", CONTROL_THREADS).map_err(thread)?;
    let handlers = handlers_runtime(settings.worker.threads.or(program.worker_threads)).map_err(thread)?;

    let done = match command {
        Command::Check(_) => {
            let routes = routes(&settings, build, &handlers)?;
            print(&cli::check(&settings, &routes).map_err(|text| Failure::usage(&text))?);
            ExitCode::SUCCESS
        }
        Command::Endpoints(endpoints) => {
            let told = control.block_on(endpoints.run(settings.store.clone()));
            print(&told.map_err(|text| Failure { text, code: 1 })?);
            ExitCode::SUCCESS
        }
        Command::Deliveries(deliveries) => {
            let told = control.block_on(deliveries.run(settings.store.clone()));
            print(&told.map_err(|text| Failure { text, code: 1 })?);
            ExitCode::SUCCESS
        }
        Command::Serve(serve) => {
            let inspector = match serve.inspect {
                Some(address) => {
                    let started = control.block_on(Inspector::listen(address));
                    Some(started.map_err(|error| Failure::start(&error))?)
                }
                None => None,
            };
            let said = inspector.as_ref().map(|inspector| offer::<S>(inspector, &mut settings));
            let routes = routes(&settings, build, &handlers)?;
            control.block_on(serve_until_told(&settings, routes, &handlers, inspector, said))?
        }
    };
    Ok(done)
}

/// What is wrong with `[config]`, to be told with the other mistakes.
fn mistake_in_config<S: DeserializeOwned>(user: &ConfigTable, command: &Command) -> Option<settings::Error> {
    let mut user = user.clone();
    if let Command::Serve(serve) = command
        && serve.inspect.is_some()
        && !user.has(WEBHOOK_URL)
    {
        // The inspector's will be set; that it is missing is no mistake.
        user.set(WEBHOOK_URL, "http://127.0.0.1:4000/");
    }
    user.deserialize::<S>().err()
}

/// Panics go to the log, where their text is escaped: a handler's may be of its payload's making.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("(no message)");
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            format!("\n{backtrace}")
        } else {
            String::new()
        };
        tracing::error!(target: target::PANIC, place, "panicked at {place}: {}{backtrace}", Escaped(text));
    }));
}

#[derive(Debug, thiserror::Error)]
#[error("a thread cannot be started")]
struct ThreadError(#[source] std::io::Error);

/// The runtime that belongs to the user's code.
fn handlers_runtime(threads: Option<usize>) -> std::io::Result<Background> {
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    Background::start("postback-handler", threads)
}

/// Sets the webhook to the inspector where it is unset and wanted, and says what was done.
fn offer<S: DeserializeOwned>(inspector: &Inspector, settings: &mut Settings) -> String {
    let url = inspector.url();
    // Else a webhook that a caller chose could not be shown: this machine is no place for what nobody trusts.
    settings.trust(&url);
    let prints = format!("webhooks to {url} are printed here, and it is trusted as an endpoint");
    if settings.config.webhook_url().is_some() {
        format!("{prints}; config.webhook_url is set, and stays")
    } else if settings.config.wants::<S>(WEBHOOK_URL) {
        settings.config.set(WEBHOOK_URL, &url);
        format!("{prints}; config.webhook_url was unset, and is that now")
    } else {
        format!("{prints}; the settings have no webhook_url that could be set to it")
    }
}

/// Runs the user's function, on the runtime that its handlers will have.
fn routes<S, F, R>(settings: &Settings, build: F, handlers: &Runtime) -> Result<Routes, Failure>
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    let user = settings.config.deserialize::<S>().map_err(|error| {
        let missing = !settings.config.has(WEBHOOK_URL) && settings.config.wants::<S>(WEBHOOK_URL);
        let hint = if missing {
            "\nto try it out, `serve --inspect` sets config.webhook_url to a receiver of its own"
        } else {
            ""
        };
        Failure::usage(&format!("{}{hint}", Causes(&error)))
    })?;
    let app: App<S> = handlers
        .block_on(build(user))
        .into_app()
        .map_err(|text| Failure { text: format!("the app cannot be built: {text}"), code: 1 })?;
    app.into_routes().map_err(|error| Failure::usage(&error))
}

async fn serve_until_told(
    settings: &Settings,
    routes: Routes,
    handlers: &Runtime,
    inspector: Option<Inspector>,
    said: Option<String>,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::start(&SignalError(error)))?;
    let node = Node::start(routes.clone(), settings, handlers.handle().clone());
    let node = Box::pin(node).await.map_err(|error| Failure::start(&error))?;
    let inspection = Shutdown::new();
    if let Some(inspector) = inspector {
        inspection.spawn(inspector.run(print, inspection.clone()));
    }
    let ready = Ready { settings, routes: &routes, address: node.address(), inspector: said };
    print(&ready.lines());

    let broken = tokio::select! {
        biased;
        signal = signals.next() => {
            let grace = settings.grace.as_secs();
            tracing::info!("{signal}: stopping; runs have {grace} s, a second signal ends them at once");
            false
        }
        why = node.broken() => {
            tracing::error!("{why}: the process ends, to be started again; nothing that was accepted is lost");
            true
        }
    };
    let ended_by_operator = node.ended_by_operator();
    let stopped = async {
        if broken {
            node.stop_broken().await;
        } else {
            node.stop().await;
        }
    };
    let code = tokio::select! {
        biased;
        second = signals.next() => {
            ended_by_operator();
            tracing::warn!("{second}: ended at once; the next start goes on with what was not over");
            ExitCode::from(130)
        }
        () = stopped => {
            inspection.stop();
            inspection.finished().await;
            tracing::info!("stopped");
            if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    };
    Ok(code)
}

#[derive(Debug, thiserror::Error)]
#[error("signals cannot be received")]
struct SignalError(#[source] std::io::Error);

/// See [`run`]; for a function without parameter.
#[doc(hidden)]
pub fn run_without_settings<F, R>(program: Program, build: F) -> ExitCode
where
    F: AsyncFnOnce() -> R,
    R: IntoApp,
    R::Settings: DeserializeOwned,
{
    run(program, async move |_: R::Settings| build().await)
}

//! The code that `#[postback::main]` calls: it runs a program from the command line to the exit code. And the router for
//! programs that have a server of their own.

mod commands;
mod embedded;
mod inspected;
mod listen;
mod signals;
mod threads;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use self::commands::told;
pub use self::embedded::{Embedded, IntoRouter, RouterError};
use self::inspected::set_webhook;
use self::signals::{Asked, Signals};
use self::threads::{CONTROL_THREADS, handler_runtime, thread_failure};
use crate::api::Served;
use crate::app::{App, IntoApp, Node, Reread};
use crate::background::Background;
use crate::cli::{self, AnyCommand, Arguments, Command, Ready, exit, print, print_error};
use crate::handler::Routes;
use crate::inspector::Inspector;
use crate::settings::{self, ConfigTable, Settings, WEBHOOK_URL};
use crate::telemetry::{self, Exporter};
use postback_store::shutdown::Shutdown;
use postback_wire::line::{Causes, Escaped};
use postback_wire::names::target;

/// The longest time for which the last spans are sent to the collector of traces. It is short, because orchestrators kill
/// a process after 30 s, and a stop may have taken almost as long until then.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// The name and the version of a program. `#[postback::main]` reads both from `Cargo.toml`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Program {
    /// The name of the program. `--help` and `--version` show the name. The database gets the same name if `store.url`
    /// is not set.
    pub name: &'static str,
    /// The version of the program, which `--version` shows.
    pub version: &'static str,
    /// The number of threads on which handlers run, if the setting `worker.threads` is not set. `None` means one thread
    /// for each core.
    pub worker_threads: Option<usize>,
}

impl Program {
    /// Makes a `Program` with this name and this version.
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, worker_threads: None }
    }

    /// Sets the number of threads on which handlers run. The setting `worker.threads` replaces this number.
    #[must_use]
    pub const fn worker_threads(mut self, threads: usize) -> Self {
        self.worker_threads = Some(threads);
        self
    }
}

/// Runs a workload server: reads the command line and the settings, logs, handles signals, stops gracefully, and
/// returns the exit code.
///
/// This function calls `build` once, before the server is ready. The argument of `build` is the table `[config]` of the
/// settings, read into the type `S`. The attribute [`#[postback::main]`](crate::main) generates a call of `run`. You can
/// also call `run` yourself:
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
/// This function sets the panic hook, so that panics are logged. If you want another panic hook, set this hook in
/// `build`.
///
/// The guide about [the commands](crate::guide::commands) lists the exit codes.
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

/// The reason why the process ends: a text for the user, and the exit code of the process.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn usage(text: &dyn std::fmt::Display) -> Self {
        Self { text: text.to_string(), code: exit::MISTAKE }
    }

    fn start(error: &dyn std::error::Error) -> Self {
        Self::other(Causes(error).to_string())
    }

    fn other(text: String) -> Self {
        Self { text, code: exit::FAILED }
    }
}

fn try_run<S, F, R>(program: Program, build: F) -> Result<ExitCode, Failure>
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    let command = match Arguments::parse(program.name, program.version) {
        Ok(command) => command,
        Err(error) => {
            // clap also returns an error for `--help` and `--version`. The method `print` prints the help or the
            // version to standard output, and messages about mistakes to standard error.
            let _ = error.print();
            return Ok(u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from));
        }
    };
    if let Some(text) = Arguments::about_itself(&command, program.name, program.version) {
        return told(&text.map_err(Failure::other)?);
    }
    let command = match command {
        AnyCommand::Settings(command) => command,
        AnyCommand::Secret(secret) => return told(&secret.run().map_err(Failure::other)?),
        AnyCommand::Listen(command) => return listen::listen(&command),
        AnyCommand::Completions(_) | AnyCommand::Man(_) => return Ok(ExitCode::SUCCESS),
    };
    let (settings, exporter) = load_settings::<S>(program, &command)?;
    let control = Background::start("postback-control", CONTROL_THREADS).map_err(thread_failure)?;
    let handlers = handler_runtime(settings.worker.threads.or(program.worker_threads)).map_err(thread_failure)?;
    let runtimes = (&*control, &*handlers);
    match command {
        Command::Serve(command) => serve(program, &command, (settings, exporter), build, runtimes.0, runtimes.1),
        command => commands::run(command, program, &settings, build, runtimes),
    }
}

/// Reads the settings, and starts the log. After this call, panics are logged, too. A server also gets what exports its
/// traces, if the settings name a collector.
fn load_settings<S: DeserializeOwned>(
    program: Program,
    command: &Command,
) -> Result<(Settings, Option<Exporter>), Failure> {
    let check_config =
        |config: &ConfigTable| command.reads_config().then(|| mistake_in_config::<S>(config, command)).flatten();
    let settings = settings::load(command.sources(program.name), check_config);
    let settings = settings.map_err(|errors| Failure::usage(&errors))?;
    let is_server = matches!(command, Command::Serve(_));
    let traces = settings.traces.as_ref().filter(|_| is_server).map(|traces| (traces, program.version));
    let exporter = telemetry::init(&settings.log, traces);
    if is_server {
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    log_panics();
    Ok((settings, exporter))
}

/// Returns the mistake in the table `[config]`, if there is one. The caller reports this mistake together with the
/// other mistakes in the settings.
fn mistake_in_config<S: DeserializeOwned>(config: &ConfigTable, command: &Command) -> Option<settings::Error> {
    let mut config = config.clone();
    if let Command::Serve(serve) = command
        && serve.inspect.is_some()
        && !config.has(WEBHOOK_URL)
    {
        // With `--inspect`, the program sets this key later. So the key gets a temporary value here, and does not count
        // as missing.
        config.set(WEBHOOK_URL, "http://127.0.0.1:4000/");
    }
    config.deserialize::<S>().err()
}

/// Sets a panic hook that logs each panic. The panic's text is escaped, because the text of a panic in a handler may
/// come from a payload.
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

/// Calls the user's function `build` on the tokio runtime of the handlers, and returns the routes of the app that
/// `build` makes.
fn routes<S, F, R>(settings: &Settings, build: F, handlers: &Runtime) -> Result<Routes, Failure>
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    let config = settings.config.deserialize::<S>().map_err(|error| {
        let missing = !settings.config.has(WEBHOOK_URL) && settings.config.wants::<S>(WEBHOOK_URL);
        let hint = if missing {
            "\nto try it out, use `serve --inspect`, which sets config.webhook_url to a receiver on this machine"
        } else {
            ""
        };
        Failure::usage(&format!("{}{hint}", Causes(&error)))
    })?;
    let app: App<S> = handlers
        .block_on(build(config))
        .into_app()
        .map_err(|text| Failure { text: format!("the app cannot be built: {text}"), code: exit::FAILED })?;
    #[cfg(feature = "forward")]
    let app = app.with_forwards(settings);
    let routes = app.into_routes().map_err(|error| Failure::usage(&error))?;
    settings.limit(&routes).map_err(|errors| Failure::usage(&errors))?;
    Ok(routes)
}

/// Starts the inspector if the command line asks for one, builds the app, and serves until a signal stops the process.
fn serve<S, F, R>(
    program: Program,
    command: &cli::Serve,
    (mut settings, exporter): (Settings, Option<Exporter>),
    build: F,
    control: &Runtime,
    handlers: &Runtime,
) -> Result<ExitCode, Failure>
where
    S: DeserializeOwned + Send + Sync + 'static,
    F: AsyncFnOnce(S) -> R,
    R: IntoApp<Settings = S>,
{
    let inspector = match command.inspect {
        Some(address) => Some(control.block_on(Inspector::listen(address)).map_err(|error| Failure::start(&error))?),
        None => None,
    };
    let inspected = inspector.as_ref().map(Inspector::url);
    let inspector_line = inspected.as_ref().map(|url| set_webhook::<S>(url, &mut settings));
    let reread = reread::<S>(program, command.clone(), inspected);
    let served = Served::new(program.name, program.version, routes(&settings, build, handlers)?);
    control.block_on(async {
        let exporting = exporter.map(Exporter::start);
        let served = serve_until_stopped((&settings, reread), served, handlers, inspector, inspector_line);
        let code = served.await;
        if let Some(exporting) = exporting {
            exporting.flush(LAST_SPANS).await;
        }
        code
    })
}

/// Returns a function that reads the settings again as at the start. It also checks the table `[config]`, although the
/// running app keeps the one that it was built with.
fn reread<S: DeserializeOwned>(program: Program, command: cli::Serve, inspected: Option<String>) -> Reread {
    Arc::new(move || {
        let sources = Command::Serve(command.clone()).sources(program.name);
        let mut settings = settings::load(sources, |config| config.deserialize::<S>().err());
        if let (Ok(settings), Some(url)) = (&mut settings, &inspected) {
            set_webhook::<S>(url, settings);
        }
        let settings = settings.map_err(|errors| errors.to_string())?;
        settings.config.deserialize::<S>().map_err(|error| Causes(&error).to_string())?;
        Ok(settings)
    })
}

async fn serve_until_stopped(
    (settings, reread): (&Settings, Reread),
    served: Served,
    handlers: &Runtime,
    inspector: Option<Inspector>,
    inspector_line: Option<String>,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::start(&SignalError(error)))?;
    let node = Node::start(served.clone(), settings, reread, handlers.handle().clone());
    let node = Box::pin(node).await.map_err(|error| Failure::start(&error))?;
    let inspection = Shutdown::new();
    if let Some(inspector) = inspector {
        inspected::spawn(inspector, settings, &inspection);
    }
    let ready = Ready {
        settings,
        routes: &served.routes,
        address: node.address().unwrap_or(settings.server.listen),
        needs_tokens: node.needs_tokens(),
        inspector: inspector_line,
        link: node.link(),
    };
    print(&ready.lines());

    let broken = loop {
        tokio::select! {
            biased;
            asked = signals.next() => match asked {
                Asked::Stop(signal) => {
                    let grace = settings.grace.as_secs();
                    tracing::info!("{signal}: stopping; runs have {grace} s, a second signal ends them at once");
                    break false;
                }
                Asked::Reload => {
                    // The log says what has changed.
                    let _ = node.reload("signal SIGHUP").await;
                }
            },
            why = node.broken() => {
                tracing::error!("{why}: the process ends, to be started again; no accepted request is lost");
                break true;
            }
        }
    };
    Ok(stop(node, &inspection, broken, &mut signals).await)
}

/// Stops the node, which is the running server, and then the inspector. If another signal arrives before both have
/// stopped, this function returns immediately.
async fn stop(node: Node, inspection: &Shutdown, broken: bool, signals: &mut Signals) -> ExitCode {
    let ended_by_operator = node.ended_by_operator();
    let stopped = async {
        if broken {
            node.stop_broken().await;
        } else {
            node.stop().await;
        }
    };
    tokio::select! {
        biased;
        second = signals.stop() => {
            ended_by_operator();
            tracing::warn!("{second}: ended at once; the next start continues requests and reports that are not over");
            ExitCode::from(exit::SECOND_SIGNAL)
        }
        () = stopped => {
            inspection.stop();
            inspection.finished().await;
            tracing::info!("stopped");
            if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("signals cannot be received")]
struct SignalError(#[source] std::io::Error);

/// Runs a workload server as [`run`] does, but with a function `build` that has no parameter.
#[doc(hidden)]
pub fn run_without_settings<F, R>(program: Program, build: F) -> ExitCode
where
    F: AsyncFnOnce() -> R,
    R: IntoApp,
    R::Settings: DeserializeOwned,
{
    run(program, async move |_: R::Settings| build().await)
}

//! Runs the command `listen` until a signal, or until the webhook has come that it waits for.

use std::pin::pin;
use std::process::ExitCode;

use super::signals::Signals;
use super::{CONTROL_THREADS, Failure, SignalError, thread_failure};
use crate::background::Background;
use crate::cli::{Listen, print, print_note};
use crate::inspector::Inspector;
use postback_store::shutdown::Shutdown;
use postback_wire::time::Spoken;

pub(super) fn listen(command: &Listen) -> Result<ExitCode, Failure> {
    let control = Background::start("postback-control", CONTROL_THREADS).map_err(thread_failure)?;
    control.block_on(until_stopped(command))
}

async fn until_stopped(command: &Listen) -> Result<ExitCode, Failure> {
    let options = command.options(print).map_err(|text| Failure::usage(&text))?;
    let mut signals = Signals::listen().map_err(|error| Failure::start(&SignalError(error)))?;
    let inspector = Inspector::listen(command.address).await.map_err(|error| Failure::start(&error))?;
    // On standard error, so that standard output has only what a script reads.
    print_note(&command.ready(&inspector.url(), options.keys.len()));
    let stop = Shutdown::new();
    let late = async {
        match command.timeout {
            Some(timeout) => {
                tokio::time::sleep(timeout).await;
                format!("{} are over", Spoken(timeout))
            }
            None => std::future::pending().await,
        }
    };
    let mut running = pin!(inspector.run(options, stop.clone()));
    let (ended, why) = tokio::select! {
        ended = running.as_mut() => (ended, String::new()),
        why = late => {
            stop.stop();
            (running.await, why)
        }
        signal = signals.stop() => {
            stop.stop();
            (running.await, format!("{signal} came"))
        }
    };
    // The last answers are on their way.
    stop.finished().await;
    let found = ended.map_err(|error| Failure::start(&error))?;
    if command.waits() && !found {
        return Err(Failure::other(format!("no webhook came that --wait describes: {why}")));
    }
    Ok(ExitCode::SUCCESS)
}

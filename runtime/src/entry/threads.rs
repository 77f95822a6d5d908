//! The threads of a workload server, in three groups: control, handlers, delivery.

use super::Failure;
use crate::background::Background;

/// The number of threads on which the HTTP API, the claims and the time limits of runs are processed.
pub(super) const CONTROL_THREADS: usize = 2;

#[derive(Debug, thiserror::Error)]
#[error("a thread cannot be started")]
struct ThreadError(#[source] std::io::Error);

pub(super) fn thread_failure(error: std::io::Error) -> Failure {
    Failure::start(&ThreadError(error))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Starts the tokio runtime on which the user's code runs.
pub(super) fn handler_runtime(threads: Option<usize>) -> std::io::Result<Background> {
    Background::start("postback-handler", threads.unwrap_or_else(cores))
}

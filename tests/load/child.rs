//! A child process that runs this program again, and sends lines to its parent through a pipe.
//!
//! The child ends when its standard input is closed, so it ends with the program that started it.

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::process::{self, ChildStdout, Command, Stdio};

use crate::program;

/// The parent's handle of the child. The child is killed when the handle is dropped.
pub(crate) struct Child(process::Child);

impl Child {
    /// Starts this program with this argument. Returns the first line that the child prints, and an iterator of the
    /// later lines.
    pub(crate) fn start(argument: &str) -> (Self, String, Lines<BufReader<ChildStdout>>) {
        let mut command = Command::new(program());
        let mut child = command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a first line").expect("text");
        (Self(child), first, lines)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The `main` function of the child. It runs `work` until the parent closes the pipe or ends.
pub(crate) fn work(work: impl Future<Output: Send> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.spawn(work);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.shutdown_background();
}

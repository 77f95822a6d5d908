//! A process of this program that tells its parent something, line by line through a pipe.
//!
//! It ends when its input does, so it never outlives the program that started it.

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::process::{self, ChildStdout, Command, Stdio};

use crate::program;

/// What the parent holds. Killed when dropped.
pub(crate) struct Child(process::Child);

impl Child {
    /// Starts this program with this argument; the first line that it says, and the further ones.
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

/// The child's own `main`: works until the parent is gone.
pub(crate) fn work(work: impl Future<Output: Send> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.spawn(work);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.shutdown_background();
}

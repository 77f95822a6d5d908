//! A library, built from `shim.c`, that makes database writes fail or ends the process during a write.
//!
//! The library is written in C. It has to be loaded before libc, and Rust code that can be loaded so would be `unsafe`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;

/// The database operations that the library can make fail.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Write,
    Sync,
}

/// The built library. Its folder must exist for as long as processes use the library.
pub struct Shim {
    library: PathBuf,
    fail: PathBuf,
}

impl Shim {
    /// Builds the library with the program `cc`, which the build of SQLite needs too.
    pub fn build(folder: &Path) -> Self {
        let (library, source) = (folder.join("shim.so"), folder.join("shim.c"));
        std::fs::write(&source, include_str!("shim.c")).expect("a file");
        let mut command = Command::new("cc");
        command.args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]);
        let status = command.status().expect("the program cc");
        assert!(status.success(), "cc: {status}");
        Self { library, fail: folder.join("shim-fail") }
    }

    /// Environment variables for a process whose database operations fail after [`Shim::fail`] or [`Shim::hang`].
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        vec![("LD_PRELOAD", text(&self.library)), ("SHIM_FAIL", text(&self.fail))]
    }

    /// Environment variables for a process that is killed at its database write or sync number `at`. If `torn` is true,
    /// the first half of that write is done.
    pub fn killing(&self, at: u64, torn: bool) -> Vec<(&'static str, String)> {
        let mut variables = vec![("LD_PRELOAD", text(&self.library)), ("SHIM_KILL_AT", at.to_string())];
        if torn {
            variables.push(("SHIM_TEAR", "1".to_owned()));
        }
        variables
    }

    /// From now on this operation fails with this error, in processes that have the variables of [`Shim::failing`].
    pub fn fail(&self, operation: Operation, errno: Errno) {
        self.write_fault(operation, errno.raw_os_error());
    }

    /// From now on this operation hangs, in processes that have the variables of [`Shim::failing`].
    pub fn hang(&self, operation: Operation) {
        self.write_fault(operation, 0);
    }

    fn write_fault(&self, operation: Operation, number: i32) {
        let letter = match operation {
            Operation::Write => 'w',
            Operation::Sync => 's',
        };
        // The file is written under another name and then renamed, so that a process never reads half of it.
        let new = self.fail.with_extension("new");
        std::fs::write(&new, format!("{letter} {number}")).expect("a file");
        std::fs::rename(&new, &self.fail).expect("a file");
    }

    /// From now on all operations work again.
    pub fn heal(&self) {
        std::fs::remove_file(&self.fail).expect("the file that `fail` or `hang` wrote");
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

//! A database whose writes fail, or whose writer dies in the midst of one: see `shim.c`.
//!
//! It is C because such a library has to be loaded before libc, and Rust that can be is `unsafe`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;

/// Operations that can be made to fail.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Write,
    Sync,
}

/// The library, built into a folder that outlives the processes that load it.
pub struct Shim {
    library: PathBuf,
    fail: PathBuf,
}

impl Shim {
    /// Needs the program `cc`, as the build of SQLite does.
    pub fn build(folder: &Path) -> Self {
        let (library, source) = (folder.join("shim.so"), folder.join("shim.c"));
        std::fs::write(&source, include_str!("shim.c")).expect("a file");
        let mut command = Command::new("cc");
        command.args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]);
        let status = command.status().expect("the program cc");
        assert!(status.success(), "cc: {status}");
        Self { library, fail: folder.join("shim-fail") }
    }

    /// The variables of a process whose databases fail when told to.
    pub fn failing(&self) -> Vec<(&'static str, String)> {
        vec![("LD_PRELOAD", text(&self.library)), ("SHIM_FAIL", text(&self.fail))]
    }

    /// The variables of a process that dies at the so-many-th write or sync of its databases; `torn`: that write is
    /// done by half.
    pub fn killing(&self, at: u64, torn: bool) -> Vec<(&'static str, String)> {
        let mut variables = vec![("LD_PRELOAD", text(&self.library)), ("SHIM_KILL_AT", at.to_string())];
        if torn {
            variables.push(("SHIM_TEAR", "1".to_owned()));
        }
        variables
    }

    /// From now on these operations fail, in processes that were started so.
    pub fn fail(&self, operation: Operation, errno: Errno) {
        self.say(operation, errno.raw_os_error());
    }

    /// From now on these operations hang.
    pub fn hang(&self, operation: Operation) {
        self.say(operation, 0);
    }

    fn say(&self, operation: Operation, number: i32) {
        let letter = match operation {
            Operation::Write => 'w',
            Operation::Sync => 's',
        };
        // Renamed, so that nobody reads half of it.
        let new = self.fail.with_extension("new");
        std::fs::write(&new, format!("{letter} {number}")).expect("a file");
        std::fs::rename(&new, &self.fail).expect("a file");
    }

    /// From now on they work again.
    pub fn heal(&self) {
        std::fs::remove_file(&self.fail).expect("what made them fail");
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}

//! One owner per file: an advisory lock on a file beside it, which the kernel lets go of when the process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::store::OpenError;

/// Holds the lock until dropped.
#[derive(Debug)]
pub(super) struct Owner {
    database: PathBuf,
    /// The file itself, whatever its name stands for by now.
    file: Identity,
    _lock: File,
}

/// The database lost its name while it was in use: what is written to it, nobody would find again.
#[derive(Debug, thiserror::Error)]
#[error("the database {path} was deleted or replaced while it was in use; put it back, or start the program again", path = .0.display())]
pub(super) struct Lost(PathBuf);

impl Owner {
    /// Creates the database file if there is none, and takes the lock. The lock's file stays: were it deleted, two processes
    /// could each lock their own.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { path: path.into(), source };
        drop(private(path).map_err(not_writable)?);
        // Two names of one file must not have two locks.
        let database = path.canonicalize().map_err(not_writable)?;
        let mut beside = database.clone().into_os_string();
        beside.push(".lock");
        let mut lock = private(Path::new(&beside)).map_err(not_writable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { path: path.into(), pid: pid_in(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(not_writable(source)),
        }
        write_pid(&mut lock).map_err(not_writable)?;
        let file = identity(&database).map_err(not_writable)?;
        Ok(Self { database, file, _lock: lock })
    }

    /// Whether the name still stands for the file: SQLite goes on writing to one that was deleted.
    pub(super) fn look(&self) -> Result<(), Lost> {
        match identity(&self.database) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(Lost(self.database.clone())),
        }
    }

    /// The file's own name.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }
}

#[cfg(unix)]
type Identity = (u64, u64);

/// Elsewhere a file that is open cannot be deleted.
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(path: &Path) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().map(|data| (data.dev(), data.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> std::io::Result<Identity> {
    path.metadata().map(drop)
}

/// Opens for writing; a new file is this user's alone. SQLite gives the files beside the database its mode.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn write_pid(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn pid_in(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(32).read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

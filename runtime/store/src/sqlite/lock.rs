//! The lock of a database: an advisory lock on a separate file beside the database. The kernel releases the lock when
//! the process ends.
//!
//! On Unix the lock belongs to the process (`fcntl`), not to the open file, so a forked child does not hold the lock.
//! Such a lock does not keep out another part of the same process, and the process loses the lock when it closes any
//! descriptor of the file. So the process keeps a list of the files that it has locked, and checks the list before it
//! opens a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The files that this process has locked, each with the id of the process that locked the file. A forked child process
/// inherits the list, but not the locks.
static LOCKED: Mutex<Vec<(PathBuf, u32)>> = Mutex::new(Vec::new());

/// A locked file. The lock is released when this value is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// The id of the process that took the lock.
    owner: u32,
    /// The open lock file. `None`: the lock is released.
    file: Option<File>,
}

/// The reason why the lock was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another process holds the lock. The text is the id of that process, or "unknown".
    Locked(String),
    /// The program must not write to the file. The text is the reason.
    Unsafe(String),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Lock {
    /// Locks this file. Creates the file if it does not exist, but never deletes it. If a process deleted the file and
    /// another process created it again, two processes could hold a lock with the same name.
    pub(super) fn take(path: PathBuf) -> Result<Self, Refused> {
        let owner = std::process::id();
        let mut locked = locked();
        if locked.contains(&(path.clone(), owner)) {
            return Err(Refused::Locked(owner.to_string()));
        }
        let mut file = open(&path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(Refused::Unsafe(format!("{} is not a regular file", path.display())));
        }
        if !try_lock(&file)? {
            return Err(Refused::Locked(pid_in(&mut file)));
        }
        // The permissions are changed only after the lock is taken, because before that another process may own the
        // file.
        make_private(&file, &about, &path);
        write_pid(&mut file)?;
        locked.push((path.clone(), owner));
        Ok(Self { path, owner, file: Some(file) })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            // This process is a forked child process, and may now hold its own lock on this file. If the child process
            // closed the inherited file, it would lose its own lock. So the file is not closed.
            std::mem::forget(self.file.take());
            return;
        }
        let mut locked = locked();
        self.file = None;
        locked.retain(|(path, owner)| (path, owner) != (&self.path, &self.owner));
    }
}

fn locked() -> MutexGuard<'static, Vec<(PathBuf, u32)>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a file for reading and writing, and does not change its content. Does not follow a symbolic link, and does not
/// block on a named pipe.
#[cfg(unix)]
pub(super) fn open(path: &Path) -> Result<File, Refused> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    options.open(path).map_err(|error| match path.symlink_metadata() {
        Ok(about) if about.is_symlink() => {
            Refused::Unsafe(format!("{} is a symbolic link; a regular file is needed", path.display()))
        }
        _ => error.into(),
    })
}

#[cfg(not(unix))]
pub(super) fn open(path: &Path) -> Result<File, Refused> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
}

#[cfg(unix)]
fn try_lock(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::ACCESS | Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the permissions of other users. Changes the open file instead of the path, because the path may now lead to
/// another file.
#[cfg(unix)]
fn make_private(file: &File, about: &std::fs::Metadata, path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if about.permissions().mode() & 0o077 != 0
        && let Err(error) = file.set_permissions(std::fs::Permissions::from_mode(0o600))
    {
        tracing::warn!("others may read {}, and its mode cannot be set to 600: {error}", path.display());
    }
}

#[cfg(not(unix))]
fn make_private(_: &File, _: &std::fs::Metadata, _: &Path) {}

fn write_pid(lock: &mut File) -> io::Result<()> {
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

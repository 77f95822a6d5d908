//! The lock beside a database: an advisory lock on a file of its own, which the kernel lets go of when the process dies.
//!
//! On Unix the lock belongs to the process (`fcntl`), not to the open file: a forked child does not hold it. Such a lock does not
//! keep out another part of the same process, and is lost when that process closes any descriptor of the file. So the
//! process keeps a list of what it has locked, and looks into it before it opens the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What this process has locked, with the process that did: in a forked child the list is still the parent's.
static LOCKED: Mutex<Vec<(PathBuf, u32)>> = Mutex::new(Vec::new());

/// Holds the lock until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    home: u32,
    /// `None`: dropped.
    file: Option<File>,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum Refused {
    /// By the process with this id, if it is known.
    Locked(String),
    /// The file is none that may be written to.
    Unsafe(String),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Lock {
    /// Takes the lock on this file, which is made if need be and stays: were it deleted, two processes could each lock their own.
    pub(super) fn take(path: PathBuf) -> Result<Self, Refused> {
        let home = std::process::id();
        let mut locked = locked();
        if locked.contains(&(path.clone(), home)) {
            return Err(Refused::Locked(home.to_string()));
        }
        let mut file = open(&path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(Refused::Unsafe(format!("{} is no regular file", path.display())));
        }
        if !try_lock(&file)? {
            return Err(Refused::Locked(pid_in(&mut file)));
        }
        // Not before the lock is held: until then the file's content is its owner's.
        make_private(&file, &about, &path);
        write_pid(&mut file)?;
        locked.push((path.clone(), home));
        Ok(Self { path, home, file: Some(file) })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if std::process::id() != self.home {
            // In a forked child, which may have a lock of its own on this file by now: closing would end that one.
            std::mem::forget(self.file.take());
            return;
        }
        let mut locked = locked();
        self.file = None;
        locked.retain(|(path, home)| (path, home) != (&self.path, &self.home));
    }
}

fn locked() -> MutexGuard<'static, Vec<(PathBuf, u32)>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens for writing, leaves what is in it, follows no symbolic link, and waits for nobody at the other end of a pipe.
#[cfg(unix)]
pub(super) fn open(path: &Path) -> Result<File, Refused> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    options.open(path).map_err(|error| match path.symlink_metadata() {
        Ok(about) if about.is_symlink() => {
            Refused::Unsafe(format!("{} is a symbolic link, and would lead elsewhere", path.display()))
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

/// Through the descriptor: the name may lead elsewhere by now.
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

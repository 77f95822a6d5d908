//! A database file has one owner: the process that holds the lock beside it. This module never opens an existing
//! database file, and uses only its name.
//!
//! Invariant: in this process only SQLite opens the database file and its write-ahead log (WAL). POSIX drops all locks
//! that a process has on a file as soon as the process closes any descriptor of that file. Another program could then
//! believe that it is the last user of the WAL, and delete the WAL with commits in it. So the mode of a file is changed
//! by the file's name, and a new file is created only under the lock, when there is no file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::lock::{self, Lock, Refused};
use crate::error::OpenError;

/// The largest number of symbolic links between a name and its file. If there are more links, the name is refused.
const MOST_LINKS: usize = 40;

/// The proof that this process owns the database. The process holds the lock on the database until this value is
/// dropped.
#[derive(Debug)]
pub(super) struct Owner {
    database: PathBuf,
    /// The identity of the file that had the name of the database when the lock was taken.
    file: Identity,
    _lock: Lock,
}

/// The error that the database was deleted, replaced or renamed while it was in use. The next process would not find
/// the rows that this process writes to the database now.
#[derive(Debug, thiserror::Error)]
#[error("the database {path} was deleted or replaced while it was in use; put it back, or start the program again", path = .0.display())]
pub(super) struct Lost(PathBuf);

impl Owner {
    /// Locks the database, and creates the database file if it does not exist.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { path: path.into(), source };
        let not_safe = |what| OpenError::Unsafe { path: path.into(), what };
        // The name without symbolic links is used, because otherwise two names of one file would have two locks.
        let database = own_name(path).map_err(not_writable)?;
        let lock = Lock::take(beside(&database, ".lock")).map_err(|refused| match refused {
            Refused::Locked(pid) => OpenError::InUse { path: path.into(), pid },
            Refused::Unsafe(what) => not_safe(what),
            Refused::Io(error) => not_writable(error),
        })?;
        let log = beside(&database, "-wal");
        for file in [&log, &beside(&database, "-shm")] {
            if file.symlink_metadata().is_ok_and(|about| !about.is_file()) {
                return Err(not_safe(format!("{} is not a regular file", file.display())));
            }
        }
        let has_log = log.symlink_metadata().is_ok_and(|about| about.len() > 0);
        let found = database.symlink_metadata();
        if has_log && found.as_ref().map_or(true, |about| about.is_file() && about.len() == 0) {
            // The store must not open here, because SQLite would delete the WAL of an empty database, and the commits
            // in the WAL would be lost.
            return Err(not_safe(format!(
                "it is empty or missing, but its log {} has commits in it; put the database back, or move the log away to begin \
                 with an empty database",
                log.display()
            )));
        }
        match found {
            Ok(about) if about.is_dir() => return Err(not_writable(io::ErrorKind::IsADirectory.into())),
            Ok(about) if !about.is_file() => return Err(not_writable(io::Error::other("it is not a regular file"))),
            Ok(_) => writable(&database).map_err(not_writable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(&database).map_err(not_writable)?,
            Err(error) => return Err(not_writable(error)),
        }
        for file in [&database, &log, &beside(&database, "-shm")] {
            make_private(file);
        }
        let file = identity(&database).map_err(not_writable)?;
        Ok(Self { database, file, _lock: lock })
    }

    /// Checks that the name of the database still leads to the file that was opened. Otherwise the file was deleted or
    /// replaced, and SQLite would write to a file that nobody can find.
    pub(super) fn look(&self) -> Result<(), Lost> {
        match identity(&self.database) {
            Ok(file) if file == self.file => Ok(()),
            _ => Err(Lost(self.database.clone())),
        }
    }

    /// Opens a file beside the database. The name of the file is the name of the database with the suffix `end`. Only
    /// this user may read the file.
    pub(super) fn beside(&self, end: &str) -> Result<File, OpenError> {
        let path = beside(&self.database, end);
        let file = lock::open(&path).and_then(|file| {
            if file.metadata()?.is_file() {
                Ok(file)
            } else {
                Err(Refused::Unsafe(format!("{} is not a regular file", path.display())))
            }
        });
        file.map_err(|refused| match refused {
            Refused::Unsafe(what) => OpenError::Unsafe { path: self.database.clone(), what },
            Refused::Io(source) => OpenError::NotWritable { path, source },
            Refused::Locked(pid) => OpenError::InUse { path, pid },
        })
    }

    /// Removes a file beside the database. The name of the file is the name of the database with the suffix `end`. An
    /// error is ignored, because a remaining file does no harm.
    pub(super) fn remove_beside(&self, end: &str) {
        if let Err(error) = std::fs::remove_file(beside(&self.database, end)) {
            tracing::debug!(%error, "the file {end} beside the database was not removed");
        }
    }

    /// Returns the path of the database file, without symbolic links.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }
}

/// Resolves all symbolic links in the path of a file, and returns the resulting path. The file need not exist.
fn own_name(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let name = path.file_name().ok_or_else(|| io::Error::other("it is not the name of a file"))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.canonicalize()?,
            _ => Path::new(".").canonicalize()?,
        };
        let own = folder.join(name);
        match own.symlink_metadata() {
            Ok(about) if about.is_symlink() => path = folder.join(own.read_link()?),
            _ => return Ok(own),
        }
    }
    Err(io::Error::other("too many symbolic links lead to it"))
}

fn beside(database: &Path, end: &str) -> PathBuf {
    let mut name: OsString = database.into();
    name.push(end);
    name.into()
}

/// Creates a file that only this user may use. SQLite gives the same permissions to the files that it creates beside
/// the database.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(unix)]
fn writable(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(path, Access::READ_OK | Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn writable(path: &Path) -> io::Result<()> {
    if path.metadata()?.permissions().readonly() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

/// The permission bits of the group and of all other users.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Removes the permissions of other users. Other users may have permissions, because another program or an older
/// version of this program created the file.
#[cfg(unix)]
fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(about) = path.symlink_metadata() else { return };
    let mode = about.permissions().mode() & 0o7777;
    let is_private = mode & OTHERS == 0;
    if !about.is_file() || is_private {
        return;
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) {
        Ok(()) => {
            tracing::info!("{} had mode {mode:o} and has mode 600 now: only this user may use it", path.display());
        }
        Err(error) => tracing::warn!(
            "others may use {}: it has mode {mode:o}, which cannot be changed to 600: {error}",
            path.display()
        ),
    }
}

#[cfg(not(unix))]
fn make_private(_: &Path) {}

#[cfg(unix)]
type Identity = (u64, u64);

/// The identity of a file. On systems other than Unix the type is empty: an open file cannot be deleted there, so a
/// file needs no identity.
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().map(|data| (data.dev(), data.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    path.metadata().map(drop)
}

//! The folders with the large files of forms, in the folder of the system for temporary files.
//!
//! A killed process leaves its folders, and other processes may use theirs at the same place. So each folder has a file that
//! its process holds locked. The kernel frees the lock with the process.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use postback_wire::time::{Clock, Timestamp};

const PREFIX: &str = "postback-";
/// The name of the locked file. The files of a form have numbers as names.
const LOCK: &str = ".lock";
/// How old a folder is that may be deleted. A process locks its folder much sooner.
const AGE: Duration = Duration::from_hours(1);

/// A folder that only this user can read. It is removed with this value.
#[derive(Debug)]
pub(super) struct Folder {
    /// It is closed first, because some systems do not remove a file that is open.
    _lock: File,
    folder: TempDir,
}

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(place: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.prefix(PREFIX).tempdir_in(place)?;
        let lock = File::create_new(folder.path().join(LOCK))?;
        match lock.try_lock() {
            // Where files cannot be locked, nothing can tell whether a folder is somebody's, and none is deleted.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("a new file is locked already")),
        }
        Ok(Self { _lock: lock, folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Deletes the folders of processes that were killed. This blocks.
pub(crate) fn delete_left() {
    let place = std::env::temp_dir();
    match delete_in(&place, Clock::system().now()) {
        Ok(0) => {}
        Ok(n) => tracing::info!("deleted {n} folders with files of forms that a killed process has left"),
        Err(error) => tracing::debug!("{} cannot be searched for files of forms: {error}", place.display()),
    }
}

fn delete_in(place: &Path, now: Timestamp) -> io::Result<usize> {
    let mut deleted = 0;
    for entry in place.read_dir()? {
        let entry = entry?;
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_named && is_left(&entry.path(), now).unwrap_or(false) && std::fs::remove_dir_all(entry.path()).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Whether this is a folder of this user whose process has ended.
fn is_left(folder: &Path, now: Timestamp) -> io::Result<bool> {
    // A link is not followed: others may write to the folder for temporary files.
    let about = folder.symlink_metadata()?;
    let is_old = now.system_time().duration_since(about.modified()?).is_ok_and(|age| age >= AGE);
    if !about.is_dir() || !is_old || !is_own(&about) {
        return Ok(false);
    }
    let lock = folder.join(LOCK);
    // A folder without a locked file is one of another program.
    if !lock.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    // The lock is free again at the end of this function. Nobody else wants it: a process locks only what it has made.
    match File::options().write(true).open(lock)?.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the folder belongs to this user, and nobody else can have put anything into it.
#[cfg(unix)]
fn is_own(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o777 == 0o700
}

#[cfg(not(unix))]
fn is_own(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_deleted_when_its_process_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let (runs, left) = (Folder::new_in(place.path()).unwrap(), Folder::new_in(place.path()).unwrap());
        std::fs::write(left.path().join("0"), "of a form").unwrap();
        // The end of a process frees the lock, and leaves the folder.
        let Folder { _lock: lock, folder } = left;
        drop(lock);
        let left = folder.keep();
        let of_others = place.path().join("postback-notes");
        std::fs::create_dir(&of_others).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&of_others, place.path().join("postback-link")).unwrap();
        let now = Clock::system().now();
        assert_eq!(delete_in(place.path(), now).unwrap(), 0, "it is too young");
        let later = now.saturating_add(AGE + Duration::from_mins(1));
        assert_eq!(delete_in(place.path(), later).unwrap(), 1);
        assert!(!left.exists() && of_others.exists() && runs.path().join(LOCK).exists());
    }

    #[cfg(unix)]
    #[test]
    fn what_others_may_have_changed_is_not_touched() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = tempfile::tempdir().unwrap();
        let Folder { _lock: lock, folder } = Folder::new_in(place.path()).unwrap();
        drop(lock);
        let left = folder.keep();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o777)).unwrap();
        let later = Clock::system().now().saturating_add(2 * AGE);
        assert_eq!(delete_in(place.path(), later).unwrap(), 0);
        assert!(left.exists());
    }
}

//! Who may use the database file, and the files beside it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::world::{World, id, submit};
use crate::OpenError;

fn file(world: &World, name: &str) -> PathBuf {
    world.dir.path().join(name)
}

/// Tries to open the store, which must fail with `OpenError::Unsafe`. Returns the text of this error.
async fn refused(world: &World) -> String {
    match world.try_open().await {
        Err(error @ OpenError::Unsafe { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let world = World::sqlite();
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    // The store is still open, so the copied files have the same state as after a crash: there is still a WAL.
    let copy = World::sqlite();
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        fs::copy(file(&world, name), file(&copy, name)).unwrap();
        fs::set_permissions(file(&copy, name), Permissions::from_mode(0o644)).unwrap();
    }
    let opened = copy.open().await;
    assert!(opened.request(&id("r")).await.unwrap().is_some());
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let mode = fs::metadata(file(&copy, name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_lock_that_leads_elsewhere_is_refused_and_nothing_is_written_there() {
    let world = World::sqlite();
    let other = file(&world, "precious");
    fs::write(&other, "keep me").unwrap();
    symlink(&other, file(&world, "store.db.lock")).unwrap();
    assert!(refused(&world).await.contains("store.db.lock is a symbolic link"));
    assert_eq!(fs::read_to_string(&other).unwrap(), "keep me");
    assert!(!file(&world, "store.db").exists());

    let world = World::sqlite();
    fs::create_dir(file(&world, "store.db.lock")).unwrap();
    assert!(matches!(world.try_open().await, Err(OpenError::NotWritable { .. })));

    // The lock file of this store is a named pipe. Opening the store must not block on the pipe.
    let world = World::sqlite();
    rustix::fs::mkfifoat(rustix::fs::CWD, file(&world, "store.db.lock"), rustix::fs::Mode::RWXU).unwrap();
    assert!(refused(&world).await.contains("store.db.lock is not a regular file"));
}

#[tokio::test]
async fn the_lock_names_its_owner_while_another_is_refused() {
    let world = World::sqlite();
    let store = world.open().await;
    let pid = || fs::read_to_string(file(&world, "store.db.lock")).unwrap();
    let before = pid();
    assert!(matches!(world.try_open().await, Err(OpenError::InUse { .. })));
    assert_eq!(pid(), before);
    store.close().await;
}

#[tokio::test]
async fn a_log_without_its_database_is_not_thrown_away() {
    let world = World::sqlite();
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    let copy = World::sqlite();
    fs::copy(file(&world, "store.db-wal"), file(&copy, "store.db-wal")).unwrap();
    let size = fs::metadata(file(&copy, "store.db-wal")).unwrap().len();
    for database in [None, Some("")] {
        if let Some(text) = database {
            fs::write(file(&copy, "store.db"), text).unwrap();
        }
        assert!(refused(&copy).await.contains("store.db-wal has commits in it"));
        assert_eq!(fs::metadata(file(&copy, "store.db-wal")).unwrap().len(), size);
    }
    // When the database file is beside the WAL again, the store opens and has all rows.
    fs::copy(file(&world, "store.db"), file(&copy, "store.db")).unwrap();
    assert!(copy.open().await.request(&id("r")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_link_to_a_database_is_the_database() {
    let mut world = World::sqlite();
    let own = world.options.place.clone();
    let link = file(&world, "link.db");
    symlink("store.db", &link).unwrap();
    world.options.place = crate::Location::Sqlite { path: link, durability: crate::Durability::Normal };
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    world.options.place = own;
    assert!(matches!(world.try_open().await, Err(OpenError::InUse { .. })));
    store.close().await;
    assert!(world.open().await.request(&id("r")).await.unwrap().is_some());
}

/// Returns the number of SQLite's locks that this process has on the database file. The Linux kernel lists these locks.
#[cfg(target_os = "linux")]
fn locks(world: &World) -> usize {
    let inode = format!(":{} ", fs::metadata(file(world, "store.db")).unwrap().ino());
    let pid = format!(" {} ", std::process::id());
    let all = fs::read_to_string("/proc/locks").unwrap();
    all.lines().filter(|line| line.contains(&inode) && line.contains(&pid) && line.contains("POSIX")).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_refused_open_does_not_drop_the_owners_locks() {
    let world = World::sqlite();
    let store = world.open().await;
    submit(&store, world.request("r")).await;
    let before = locks(&world);
    assert!(before > 0);
    assert!(matches!(world.try_open().await, Err(OpenError::InUse { .. })));
    assert_eq!(locks(&world), before);
}

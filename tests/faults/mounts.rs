//! Small and read-only disks.

use std::path::Path;
use std::process::Command;

use postback_tests::eventually;
use serde_json::json;
use tempfile::TempDir;

use crate::server::{Answer, Server, folder, launch};

/// A disk in memory, mounted on a folder.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn of(megabytes: u32) -> Self {
        let disk = Self { folder: folder() };
        disk.mount(&format!("size={megabytes}m"));
        disk
    }

    fn remount(&self, options: &str) {
        self.mount(&format!("remount,{options}"));
    }

    /// Type and source are said each time: else `mount` adds options that only root may set.
    fn mount(&self, options: &str) {
        run("mount", &["-t", "tmpfs", "-o", options, "none"], self.folder.path());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.folder.path());
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) {
    let status = Command::new(program).args(arguments).arg(last).status().expect(program);
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

pub(crate) fn a_full_disk_is_a_no_and_passes() {
    let disk = Disk::of(3);
    let mut server = Server::start(disk.folder.path(), &[]);
    let large = "x".repeat(100_000);
    let mut yes = 0;
    while let Answer::Yes = server.submit(&large) {
        yes += 1;
        assert!(yes < 100, "3 MB hold no 100 of them");
    }
    server.refuses(&large);
    let (status, said) = server.readiness();
    assert_eq!(status, 503, "{said}");
    disk.remount("size=64m");
    server.is_ready();
    server.recovers();
    server.accepts(&large);
    server.keeps_all();
}

/// Of a small disk a tenth is kept: requests are refused, and what was accepted comes to its end.
pub(crate) fn some_of_a_disk_is_kept_for_outcomes() {
    let disk = Disk::of(40);
    let mut server = Server::start(disk.folder.path(), &[]);
    let text = "x".repeat(20_000);
    for _ in 0..10 {
        server.accepts_at("/gated", &json!({"gate": "gate", "text": text}));
    }
    // Another program takes all but 3 MB.
    let size = rustix::fs::statvfs(disk.folder.path()).unwrap();
    let taken = usize::try_from(size.f_bavail * size.f_frsize).unwrap() - 3_000_000;
    let filler = disk.folder.path().join("filler");
    std::fs::write(&filler, vec![7; taken]).unwrap();
    let told = "requests are refused until there is more room";
    eventually("that it refuses", || {
        let _ = server.submit("one more");
        if server.process.output().contains(told) { Ok(()) } else { Err(()) }
    });
    match server.submit(&text) {
        Answer::No(503, said) => assert!(said.contains("store.disk_reserve") && said.contains("try again"), "{said}"),
        other => panic!("{other:?}"),
    }
    // What was accepted runs, is settled, and is told.
    std::fs::write(disk.folder.path().join("gate"), "").unwrap();
    server.tells_all();
    server.refuses("still");
    assert_eq!(server.process.output().matches(told).count(), 1, "told once");
    let (status, said) = server.readiness();
    assert!(status == 503 && said.contains("store.disk_reserve"), "{status} {said}");
    std::fs::remove_file(filler).unwrap();
    server.is_ready();
    server.recovers();
    server.keeps_all();
}

pub(crate) fn a_read_only_disk_is_told_at_the_start() {
    let disk = Disk::of(3);
    let told = || {
        disk.remount("ro");
        let mut process = launch(disk.folder.path(), &[]);
        assert_eq!(process.ended().code(), Some(1));
        let said = process.output();
        assert!(said.contains("workload.db cannot be opened for writing") && said.contains("ead-only"), "{said}");
        disk.remount("rw");
    };
    // Without a database, and with one.
    told();
    let mut server = Server::start(disk.folder.path(), &[]);
    server.accepts("before");
    server.keeps_all();
    server.process.terminate();
    assert!(server.process.ended().success());
    told();
    server.restart();
    server.keeps_all();
}

//! Tests with disks that are small or read-only.

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

    /// Mounts or remounts the disk. Type and source are given each time. Otherwise `mount` adds options that only root
    /// may set.
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

pub(crate) fn submissions_are_refused_while_the_disk_is_full() {
    let disk = Disk::of(3);
    let mut server = Server::start(disk.folder.path(), &[]);
    let large = "x".repeat(100_000);
    let mut accepted = 0;
    while let Answer::Accepted = server.submit(&large) {
        accepted += 1;
        assert!(accepted < 100, "a disk of 3 MB must be full before 100 requests");
    }
    server.refuses(&large);
    let (status, text) = server.readiness();
    assert_eq!(status, 503, "{text}");
    disk.remount("size=64m");
    server.is_ready();
    server.recovers();
    server.accepts(&large);
    server.keeps_all();
}

/// A tenth of a small disk is reserved. When only the reserve is left, new requests are refused, and accepted requests
/// are finished.
pub(crate) fn part_of_a_disk_is_reserved_for_outcomes() {
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
    let refusing = "requests are refused until there is more room";
    eventually("a line that says that requests are refused", || {
        let _ = server.submit("one more");
        if server.process.output().contains(refusing) { Ok(()) } else { Err(()) }
    });
    match server.submit(&text) {
        Answer::Refused(503, text) => {
            assert!(text.contains("store.disk_reserve") && text.contains("try again"), "{text}")
        }
        other => panic!("{other:?}"),
    }
    // Accepted requests run, are settled, and are reported.
    std::fs::write(disk.folder.path().join("gate"), "").unwrap();
    server.has_reported_all();
    server.refuses("still");
    assert_eq!(server.process.output().matches(refusing).count(), 1, "the line must be logged once");
    let (status, text) = server.readiness();
    assert!(status == 503 && text.contains("store.disk_reserve"), "{status} {text}");
    std::fs::remove_file(filler).unwrap();
    server.is_ready();
    server.recovers();
    server.keeps_all();
}

pub(crate) fn a_read_only_disk_is_an_error_at_the_start() {
    let disk = Disk::of(3);
    let start_fails = || {
        disk.remount("ro");
        let mut process = launch(disk.folder.path(), &[]);
        assert_eq!(process.ended().code(), Some(1));
        let output = process.output();
        assert!(output.contains("workload.db cannot be opened for writing") && output.contains("ead-only"), "{output}");
        disk.remount("rw");
    };
    // First without a database file, then with an existing one.
    start_fails();
    let mut server = Server::start(disk.folder.path(), &[]);
    server.accepts("before");
    server.keeps_all();
    server.process.terminate();
    assert!(server.process.ended().success());
    start_fails();
    server.restart();
    server.keeps_all();
}

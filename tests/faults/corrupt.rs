//! Files that are not what they were.

use std::os::unix::fs::FileExt as _;

use postback_tests::eventually;

use crate::server::{Answer, Server, folder, launch};

pub(crate) fn a_header_that_is_overwritten_is_told() {
    let folder = folder();
    let mut server = Server::start(folder.path(), &[]);
    server.accepts("before");
    server.keeps_all();
    server.process.terminate();
    assert!(server.process.ended().success());
    let file = std::fs::File::options().write(true).open(server.database()).unwrap();
    file.write_all_at(&[0xAA; 100], 0).unwrap();
    let before = std::fs::read(server.database()).unwrap();
    let mut process = launch(folder.path(), &[]);
    assert_eq!(process.ended().code(), Some(1));
    let said = process.output();
    assert!(said.contains("workload.db cannot be used") && said.contains("not a database"), "{said}");
    assert_eq!(std::fs::read(server.database()).unwrap(), before, "what may be rescued is not touched");
}

pub(crate) fn pages_that_are_overwritten_are_a_no() {
    const PAGE: usize = 4_096;
    /// Pages overwritten at a time.
    const HOLE: usize = 8;
    let folder = folder();
    let mut server = Server::start(folder.path(), &[]);
    for n in 0..50 {
        server.accepts(&format!("{n}: {}", "x".repeat(1_000)));
    }
    server.keeps_all();
    server.process.terminate();
    assert!(server.process.ended().success());
    let whole = std::fs::read(server.database()).unwrap();
    let (mut told, mut hidden) = (0, 0);
    for first in (1..whole.len() / PAGE).step_by(HOLE) {
        let mut damaged = whole.clone();
        damaged[first * PAGE..].iter_mut().take(HOLE * PAGE).for_each(|byte| *byte = 0xAA);
        std::fs::write(server.database(), &damaged).unwrap();
        let mut process = launch(folder.path(), &[]);
        eventually("that it starts or does not", || {
            if process.url().is_none() && process.is_running() { Err(()) } else { Ok(()) }
        });
        if process.url().is_none() {
            assert_eq!(process.ended().code(), Some(1));
            let said = process.output();
            assert!(said.contains("it is damaged") && said.contains("restore it from a backup"), "{said}");
            told += 1;
            continue;
        }
        // What is damaged has not been needed yet. What can be read is right, what cannot is an error and not an absence.
        server.takes(process);
        hidden += server.knows_all_or_says_no();
        if let Answer::No(status, said) = server.submit("new") {
            assert_eq!(status, 503, "{said}");
        }
        assert!(!server.process.output().contains("panicked"), "{}", server.process.output());
        server.process.terminate();
        assert_eq!(server.process.ended().code(), Some(0), "{}", server.process.output());
        server.forget_after(50);
    }
    assert!(told > 0 && hidden > 0, "{told} starts told it, {hidden} answers");
}

pub(crate) fn a_file_that_is_deleted_is_a_no() {
    let folder = folder();
    let mut server = Server::start(folder.path(), &[]);
    server.accepts("before");
    let elsewhere = folder.path().join("elsewhere.db");
    std::fs::rename(server.database(), &elsewhere).unwrap();
    server.refuses("nobody would find it");
    // Nor is it something else that has its name by now.
    std::fs::write(server.database(), "").unwrap();
    server.refuses("nobody would find it");
    assert!(server.process.output().contains("was deleted or replaced"), "{}", server.process.output());
    std::fs::rename(&elsewhere, server.database()).unwrap();
    server.recovers();
    server.keeps_all();
}

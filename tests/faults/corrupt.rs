//! Tests with a database file that is damaged, deleted or replaced.

use std::os::unix::fs::FileExt as _;

use postback_tests::eventually;

use crate::server::{Answer, Server, folder, launch};

pub(crate) fn an_overwritten_header_is_an_error_at_the_start() {
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
    let output = process.output();
    assert!(output.contains("workload.db cannot be used") && output.contains("not a database"), "{output}");
    assert_eq!(std::fs::read(server.database()).unwrap(), before, "the server must not change a damaged file");
}

pub(crate) fn overwritten_pages_are_errors() {
    const PAGE: usize = 4_096;
    /// The number of pages that are overwritten together.
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
    let (mut failed_starts, mut failed_answers) = (0, 0);
    for first in (1..whole.len() / PAGE).step_by(HOLE) {
        let mut damaged = whole.clone();
        damaged[first * PAGE..].iter_mut().take(HOLE * PAGE).for_each(|byte| *byte = 0xAA);
        std::fs::write(server.database(), &damaged).unwrap();
        let mut process = launch(folder.path(), &[]);
        eventually("a server that is ready or has ended", || {
            if process.url().is_none() && process.is_running() { Err(()) } else { Ok(()) }
        });
        if process.url().is_none() {
            assert_eq!(process.ended().code(), Some(1));
            let output = process.output();
            assert!(output.contains("it is damaged") && output.contains("restore it from a backup"), "{output}");
            failed_starts += 1;
            continue;
        }
        // The start did not read the damaged pages. A request whose pages are intact is answered correctly. A request
        // whose pages are damaged is answered with an error, not with 404.
        server.takes(process);
        failed_answers += server.knows_all_or_fails();
        if let Answer::Refused(status, text) = server.submit("new") {
            assert_eq!(status, 503, "{text}");
        }
        assert!(!server.process.output().contains("panicked"), "{}", server.process.output());
        server.process.terminate();
        assert_eq!(server.process.ended().code(), Some(0), "{}", server.process.output());
        server.forget_after(50);
    }
    assert!(failed_starts > 0 && failed_answers > 0, "{failed_starts} starts and {failed_answers} answers failed");
}

pub(crate) fn a_deleted_file_makes_the_server_refuse() {
    let folder = folder();
    let mut server = Server::start(folder.path(), &[]);
    server.accepts("before");
    let elsewhere = folder.path().join("elsewhere.db");
    std::fs::rename(server.database(), &elsewhere).unwrap();
    server.refuses("this row would be lost");
    // Another file that has the name of the database now is not the database.
    std::fs::write(server.database(), "").unwrap();
    server.refuses("this row would be lost");
    assert!(server.process.output().contains("was deleted or replaced"), "{}", server.process.output());
    std::fs::rename(&elsewhere, server.database()).unwrap();
    server.recovers();
    server.keeps_all();
}

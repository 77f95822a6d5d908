//! Programs that are no workload server.

use postback_tests::{Process, Receiver};

#[test]
fn without_a_poster_one_starts_with_a_warning_and_the_calls_return_what_they_return() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let mut process = Process::start(env!("CARGO_BIN_EXE_bare"), folder.path(), &[&receiver.url("/")], &[]);
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    for says in ["returned 2\n", "returned 4\n", "returned 6\n"] {
        assert!(output.contains(says), "{output}");
    }
    assert_eq!(output.matches("no poster is installed").count(), 1, "{output}");
    // This machine is no place for what nobody trusts, and the default poster trusts nobody.
    assert!(output.contains("flushed: 0 delivered, 0 stored for later, 0 waiting, 3 lost"), "{output}");
    assert!(receiver.all().is_empty());
}

#[test]
fn a_url_that_is_none_costs_the_report_and_not_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(env!("CARGO_BIN_EXE_bare"), folder.path(), &["nonsense"], &[]);
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    assert!(output.contains("returned 6\n"), "{output}");
    assert_eq!(output.matches("the webhook URL cannot be parsed").count(), 1, "told once per cause:\n{output}");
    assert!(output.contains("3 lost"), "{output}");
}

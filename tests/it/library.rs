//! Programs that use the library without a workload server.

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
    // The default poster trusts no URL, so reports to an address of this machine are refused.
    assert!(output.contains("flushed: 0 delivered, 0 stored for later, 0 waiting, 3 lost"), "{output}");
    assert!(receiver.all().is_empty());
    if cfg!(target_os = "linux") {
        assert!(!output.contains("threads of a poster: 0"), "{output}");
    }
}

#[test]
fn the_environment_turns_reporting_off_and_the_calls_return_what_they_return() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let disabled = [("POSTBACK_DISABLED", "1")];
    let mut process = Process::start(env!("CARGO_BIN_EXE_bare"), folder.path(), &[&receiver.url("/")], &disabled);
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    assert!(output.contains("returned 6\n"), "{output}");
    assert!(output.contains("0 lost, 3 discarded: reporting is turned off"), "{output}");
    assert!(output.contains("threads of a poster: 0"), "{output}");
    assert_eq!(output.matches("WARN").count(), 1, "the warning must be logged once:\n{output}");
    assert!(receiver.all().is_empty());
}

#[test]
fn a_forked_child_refuses_and_counts_reports_until_it_installs_its_own_poster() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let arguments = [receiver.url("/"), "reports.db".to_owned()];
    let arguments = arguments.each_ref().map(String::as_str);
    let mut process = Process::start(env!("CARGO_BIN_EXE_forked"), folder.path(), &arguments, &[]);
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    for says in [
        "the child's post is forked: true: the poster belongs to the process that this one was forked from",
        "and durably: the poster belongs to",
        "the child's call returned 2\n",
        "the child flushed: 0 delivered, 0 stored for later, 0 waiting, 3 lost, and the flush did not come to its end",
        "the child's own: 1 delivered, 0 stored for later, 0 waiting, 0 lost\n",
        "the child ended with 0\n",
        "the parent: 2 delivered, 0 stored for later, 0 waiting, 0 lost\n",
        "the first: 1 delivered, 0 stored for later, 0 waiting, 0 lost\n",
        "the second, beside the child: 0 delivered, 0 stored for later, 0 waiting, 0 lost\n",
    ] {
        assert!(output.contains(says), "{says:?} in\n{output}");
    }
    assert_eq!(
        output.matches("install one after the fork").count(),
        1,
        "the warning must be logged once for each cause:\n{output}"
    );
    let mut ids: Vec<_> = receiver.all().into_iter().map(|received| received.json()["id"].clone()).collect();
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, ["after", "before", "beside", "of the child"]);
}

#[test]
fn with_an_invalid_url_the_report_is_lost_and_the_call_returns() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(env!("CARGO_BIN_EXE_bare"), folder.path(), &["nonsense"], &[]);
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    assert!(output.contains("returned 6\n"), "{output}");
    assert_eq!(
        output.matches("the webhook URL cannot be parsed").count(),
        1,
        "the warning must be logged once for each cause:\n{output}"
    );
    assert!(output.contains("3 lost"), "{output}");
}

//! The commands `secret new` and `secret public`, as a person and as a script use them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use postback::{PublicKey, Secret};

/// Runs a command in a folder with an invalid settings file. The commands must not read it.
fn run(arguments: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), "no settings").unwrap();
    run_in(folder.path(), arguments, input, Stdio::piped())
}

fn run_in(folder: &Path, arguments: &[&str], input: &str, stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have ended already. Then the write fails.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn standard_output_has_only_the_secret_and_standard_error_the_advice() {
    for (arguments, prefix) in [(&["secret", "new"][..], "whsec_"), (&["secret", "new", "--ed25519"], "whsk_")] {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let secret = text(&output.stdout).strip_suffix('\n').unwrap();
        assert!(secret.starts_with(prefix) && secret.parse::<Secret>().is_ok());
        let advice = text(&output.stderr);
        assert!(advice.contains("POSTBACK_DELIVERY__SECRETS") && !advice.contains(secret), "{advice}");
    }
}

#[test]
fn the_public_key_is_printed_by_secret_new_and_by_secret_public() {
    let made = run(&["secret", "new", "--ed25519"], "");
    let printed = run(&["secret", "public"], text(&made.stdout));
    assert_eq!((printed.status.code(), text(&printed.stderr)), (Some(0), ""));
    let key = text(&printed.stdout).trim();
    key.parse::<PublicKey>().unwrap();
    assert!(text(&made.stderr).contains(key), "{made:?}");
    let printed = run(&["secret", "public", "--jwks"], text(&made.stdout));
    let document: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(document["keys"][0]["kty"], "OKP", "{printed:?}");
}

#[test]
fn a_secret_without_a_public_key_is_refused_and_not_repeated() {
    let output = run(&["secret", "public"], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let error = text(&output.stderr);
    assert!(error.contains("has no public key") && !error.contains("MfKQ"), "{error}");
}

#[test]
fn a_secret_that_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run_in(folder.path(), &["secret", "new"], "", full.into());
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains("standard output cannot be written"), "{output:?}");
}

#[test]
fn each_command_has_its_help() {
    for arguments in [&["secret", "--help"][..], &["secret", "new", "--help"], &["secret", "public", "--help"]] {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Usage: "), "{output:?}");
    }
}

//! What must not be in a build.

use std::process::Command;

use crate::root;

/// Whether a build of the library has this package in it.
fn has(package: &str, features: &[&str]) -> bool {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "postback", "--edges", "normal", "--invert", package])
        .args(features)
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && !output.stdout.is_empty() {
        return true;
    }
    // Anything else that goes wrong shall not pass for an absence.
    assert!(said.contains("did not match any packages") || said.contains("nothing to print"), "{said}");
    false
}

#[test]
fn the_library_alone_has_no_server_and_no_sql() {
    for package in ["axum", "hyper-util", "sqlx", "clap", "toml", "tracing-subscriber"] {
        let is_there = has(package, &["--no-default-features"]);
        // The HTTP client stands on hyper as well.
        assert_eq!(is_there, package == "hyper-util", "{package}");
    }
}

#[test]
fn the_default_build_has_both() {
    for package in ["axum", "sqlx", "clap"] {
        assert!(has(package, &[]), "{package}");
    }
}

/// Every program that uses tokio's macros compiles syn with these. One more would be compiled for us alone, unless another
/// package happens to ask for it.
const TOKIOS_SYN: &str = "clone-impls,default,derive,full,parsing,printing,proc-macro";

#[test]
fn the_attributes_ask_no_more_of_syn_than_tokios_do() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "postback-macros"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p} {f}"])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let features: Vec<_> = tree.lines().filter_map(|line| line.strip_prefix("syn v3.")?.split(' ').nth(1)).collect();
    assert_eq!(features, [TOKIOS_SYN], "{tree}");
}

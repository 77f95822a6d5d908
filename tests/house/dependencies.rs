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

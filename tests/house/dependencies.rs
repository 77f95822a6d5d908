//! Checks which packages are in a build.

use std::collections::HashSet;
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
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && !output.stdout.is_empty() {
        return true;
    }
    // Another error of cargo must fail the test. It does not show that the package is absent.
    assert!(errors.contains("did not match any packages") || errors.contains("nothing to print"), "{errors}");
    false
}

#[test]
fn the_library_alone_has_no_server_and_no_sql() {
    for package in ["axum", "hyper-util", "rusqlite", "clap", "toml", "tracing-subscriber"] {
        let is_there = has(package, &["--no-default-features"]);
        // The HTTP client uses hyper-util too, so the library always has it.
        assert_eq!(is_there, package == "hyper-util", "{package}");
    }
}

#[test]
fn the_default_build_has_a_server_and_sql() {
    for package in ["axum", "rusqlite", "clap"] {
        assert!(has(package, &[]), "{package}");
    }
}

/// The features of syn that tokio's macros use. Most programs compile syn with these features in any case. Another
/// feature would make such a program compile syn with more code, only for Postback.
const TOKIOS_SYN: &str = "clone-impls,default,derive,full,parsing,printing,proc-macro";

#[test]
fn the_attributes_use_the_features_of_syn_that_tokios_macros_use() {
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

/// How many crates a build of the library with these features compiles, with those that run during the build.
fn crates(features: &[&str]) -> usize {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "postback", "--edges", "normal,build"])
        .args(["--prefix", "none", "--no-dedupe", "--no-default-features", "--features", &features.join(",")])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter(|line| !line.is_empty()).collect::<HashSet<_>>().len()
}

#[test]
fn the_readme_says_how_many_crates_each_feature_adds() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, table) = readme.split_once("| feature | default | crates |").expect("the table of features");
    let (table, text) = table.split_once("\n\n").unwrap();
    let default = crates(&["server", "sqlite"]);
    let said = format!("the default build has {default}, and that without\nfeatures {}.", crates(&[]));
    assert!(text.contains(&said), "the text below the table must say: {said}");
    let mut seen = 0;
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let adds: usize = cells[3].parse().unwrap_or_else(|_| panic!("a number in {row}"));
        for feature in cells[1].split(", ").map(|name| name.trim_matches('`')) {
            let really = match feature {
                "server" => default - crates(&["sqlite"]),
                "sqlite" => default - crates(&["server"]),
                other => crates(&["server", "sqlite", other]) - default,
            };
            assert_eq!(adds, really, "the crates of the feature {feature}");
            seen += 1;
        }
    }
    assert_eq!(seen, 13, "the table of features has a row for each");
}

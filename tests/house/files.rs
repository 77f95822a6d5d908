//! Rules for all files: how each file begins, how long it may be, and which texts no file may contain.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{files_below, none, root};

/// The most lines of a file. A longer file probably does two jobs.
const MAX_LINES: usize = 400;

#[test]
fn every_module_says_what_it_is_for_and_is_short() {
    let mut problems = Vec::new();
    for folder in ["runtime", "macros", "tests", "examples"] {
        for file in files_below(folder, ".rs").into_iter().filter(|file| !is_ui_case(file)) {
            let text = std::fs::read_to_string(root().join(&file)).unwrap();
            problems.extend(looks_wrong(&text).into_iter().map(|what| format!("{}: {what}", file.display())));
        }
    }
    none(&problems);
}

/// Whether the file is a case of `tests/ui`. Such a file stands for a user's code, and its expected errors name its
/// lines.
fn is_ui_case(file: &Path) -> bool {
    file.strip_prefix("tests/ui").is_ok_and(|inner| inner.components().count() > 1)
}

fn looks_wrong(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//! ") {
        problems.push("open with a line `//! …` that says what the module is for".to_owned());
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!("{lines} lines, more than {MAX_LINES}: split it by job"));
    }
    problems
}

#[test]
fn a_file_that_looks_wrong_is_found() {
    assert!(looks_wrong("//! Good.\n").is_empty());
    assert_eq!(looks_wrong("use x;\n//! Late.\n").len(), 1);
    assert_eq!(looks_wrong(&"\n".repeat(MAX_LINES + 1)).len(), 2);
    assert!(is_ui_case(Path::new("tests/ui/main/generic.rs")) && !is_ui_case(Path::new("tests/ui/run.rs")));
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    let mut problems = Vec::new();
    for file in tracked() {
        // Files that are not text are skipped.
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        let is_lock = file.file_name().is_some_and(|name| name == "Cargo.lock");
        for (number, line) in text.lines().enumerate() {
            if let Some(found) = forbidden(line, is_lock) {
                problems.push(format!("{}:{}: `{found}`", file.display(), number + 1));
            }
        }
    }
    none(&problems);
}

fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(PathBuf::from).collect()
        }
        // There is no git, or the folder is not a repository.
        _ => files_below(".", ""),
    }
}

/// The source that cargo writes into its lock file for the public index. Any other source is a private registry.
const PUBLIC_INDEX: &str = concat!("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"");

fn forbidden(line: &str, is_lock: bool) -> Option<&'static str> {
    // Each text is written in two pieces, so that this file does not contain it.
    const PATHS: [&str; 4] =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    const HOSTS: [&str; 9] = [
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("crates.io", "-index"),
        concat!("registry.npm", "js"),
        concat!("py", "pi.org"),
        concat!("python", "hosted.org"),
        concat!("proxy.go", "lang.org"),
        concat!("repo1.mav", "en.org"),
        concat!("ruby", "gems.org"),
    ];
    if is_lock {
        let is_source = line.starts_with("source = ");
        return (is_source && line != PUBLIC_INDEX).then_some("a source other than the public index");
    }
    // `frame/work/x` and `https://host/work/x` are not absolute paths of a machine.
    let is_absolute = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-*/".contains(c));
    let path = PATHS.into_iter().find(|path| line.match_indices(path).any(|(at, _)| is_absolute(at)));
    path.or_else(|| HOSTS.into_iter().find(|host| line.contains(host)))
}

#[test]
fn machines_and_registries_are_recognised() {
    let path = |tail: &str| format!("{}{tail}", concat!("/wo", "rk/"));
    assert!(forbidden(&path("x"), false).is_some());
    assert!(forbidden(&format!("see \"{}\"", path("x")), false).is_some());
    assert!(forbidden(&format!("frame{}", path("x")), false).is_none());
    assert!(forbidden(&format!("https://example.com{}", path("x")), false).is_none());
    assert!(forbidden(concat!("https://py", "pi.org/simple"), false).is_some());
    assert!(forbidden(PUBLIC_INDEX, true).is_none());
    assert!(forbidden("source = \"registry+https://mirror.example.com\"", true).is_some());
    assert!(!tracked().is_empty() && root().join(Path::new("Cargo.toml")).exists());
}

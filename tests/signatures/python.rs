//! Python, and the packages that verify.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is published for receivers in Python, and what knows Ed25519 in its place.
const PACKAGES: [&str; 2] = ["standardwebhooks==1.1.0", "cryptography==50.0.2"];

/// The folder that they are in; `Err` says what is missing.
pub fn packages() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = target.join(format!("python-{}", PACKAGES.join("-").replace("==", "-")));
    if folder.exists() {
        return Ok(folder);
    }
    let new = tempfile::tempdir_in(target).map_err(|error| error.to_string())?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2", "--target"]);
    let pip = pip.arg(new.path()).args(PACKAGES).stdin(Stdio::null()).output();
    let output = pip.map_err(|error| format!("the program python3 ({error})"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("the Python packages {}, which pip did not install ({last})", PACKAGES.join(" and ")));
    }
    // Whole or not at all; and if another process was faster, its folder is as good.
    let _ = std::fs::rename(new.path(), &folder);
    if folder.exists() { Ok(folder) } else { Err(format!("the folder {}", folder.display())) }
}

/// What a script prints that is given this to read.
pub fn run(packages: &Path, script: &str, input: &str) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", script]).env("PYTHONPATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = command.spawn().expect("python3");
    python.stdin.take().expect("piped").write_all(input.as_bytes()).expect("a reader");
    let output = python.wait_with_output().expect("its end");
    assert!(output.status.success(), "python3 ended with {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}
